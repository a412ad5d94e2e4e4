package canon

import "time"

// MinTime and MaxTime are the first and the last time that an event can have.
// Times are indexed as signed 64-bit nanoseconds since 1970.
var (
	MinTime = time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC)
	MaxTime = time.Date(2261, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
)

// AppendTime appends t in RFC 3339, UTC, with exactly digits fractional digits,
// at most 9: "2026-11-22T10:00:00.000123Z" with 6. Years have four digits.
func AppendTime(dst []byte, t time.Time, digits int) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()

	start := len(dst)
	dst = append(dst, "0000-00-00T00:00:00.000000000"[:len("2006-01-02T15:04:05.")+digits]...)
	out := dst[start:]
	putDigits(out[:4], year)
	putDigits(out[5:7], int(month))
	putDigits(out[8:10], day)
	putDigits(out[11:13], hour)
	putDigits(out[14:16], minute)
	putDigits(out[17:19], second)

	fraction := t.Nanosecond()
	for i := digits; i < 9; i++ {
		fraction /= 10
	}
	putDigits(out[20:], fraction)

	return append(dst, 'Z')
}

// putDigits writes n in decimal over dst, from its end.
func putDigits(dst []byte, n int) {
	rest := uint32(n)
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + rest%10)
		rest /= 10
	}
}

// ParseTime reads what AppendTime writes, as nanoseconds since 1970. It checks
// the length and the last letter, not each digit: it is for text that was
// checked when it was written.
func ParseTime(text []byte, digits int) (nanos int64, ok bool) {
	end := len("2006-01-02T15:04:05.") + digits
	if len(text) != end+1 || text[end] != 'Z' {
		return 0, false
	}

	number := func(from, to int) (n int) {
		for _, c := range text[from:to] {
			n = n*10 + int(c-'0')
		}
		return n
	}

	days := unixDay(number(0, 4), number(5, 7), number(8, 10))
	seconds := int64(days)*86_400 + int64(number(11, 13)*3_600+number(14, 16)*60+number(17, 19))

	fraction := number(20, end)
	for i := digits; i < 9; i++ {
		fraction *= 10
	}

	return seconds*int64(time.Second) + int64(fraction), true
}

// unixDay returns the days from 1970-01-01 to a day of the Gregorian calendar.
// Years begin in March here, so that the leap day is the last of its year.
func unixDay(year, month, day int) int {
	month -= 3
	if month < 0 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*month+2)/5 + day - 719_469
}
