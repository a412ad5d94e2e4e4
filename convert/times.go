package convert

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

// layouts are tried after RFC 3339.
var layouts = []string{
	"2006-01-02T15:04:05.999999999",
	"2006-01-02T15:04:05.999999999Z0700",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999 Z07:00",
	"2006-01-02 15:04:05.999999999 -0700",
	"2006-01-02 15:04:05.999999999 -0700 MST", // time.Time.String
	"2006-01-02 15:04:05.999999999 MST",
	"02/Jan/2006:15:04:05 -0700", // Common Log Format
	time.RFC1123Z,
	time.RFC1123,
	time.RFC850,
	time.ANSIC,
	time.DateOnly,
}

// when returns the record's time, or zero. Only RFC 3339 is taken out of the
// attributes; any other spelling stays there, to show what was read.
func when(o Object) time.Time {
	for _, name := range timeNames {
		v, _ := o.At(name)
		switch v := v.(type) {
		case string:
			if t, ok := ParseTime(v, time.RFC3339); ok {
				o.Take(name)
				return t
			}
			if t, ok := parseTime(v); ok {
				return t
			}
		case json.Number:
			if t, ok := unix(v.String()); ok {
				return t
			}
		}
	}
	return time.Time{}
}

func parseTime(text string) (time.Time, bool) {
	if t, ok := ParseTime(text, layouts...); ok {
		return t, true
	}
	return unix(text)
}

// ParseTime reads a time in the first of some layouts that fits. Without a zone,
// UTC is meant. Of zones that have a name and no offset, only UTC and GMT are
// read: the others say different things in different places, and must not say
// what they do where the program runs. The year 1 is none.
func ParseTime(text string, layouts ...string) (time.Time, bool) {
	for _, layout := range layouts {
		t, err := time.ParseInLocation(layout, text, time.UTC)
		if err != nil || t.IsZero() {
			continue
		}
		if strings.Contains(layout, "MST") && !strings.Contains(layout, "-0700") {
			if zone, _ := t.Zone(); zone != "UTC" && zone != "GMT" {
				continue
			}
		}
		return t.UTC(), true
	}
	return time.Time{}, false
}

// unix reads a decimal number of seconds, milliseconds, microseconds or
// nanoseconds since 1970, whichever puts it between 1973 and 5138.
func unix(text string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	if strings.ContainsAny(text, "eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f < 0 || f >= 1<<63 {
			return time.Time{}, false
		}
		whole, fraction, _ = strings.Cut(strconv.FormatFloat(f, 'f', -1, 64), ".")
	}
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || n < 1e8 {
		return time.Time{}, false
	}
	digits := 9 // of a unit, in nanoseconds
	for limit := uint64(1e11); n >= limit && digits > 0; limit *= 1000 {
		digits -= 3
	}
	part := uint64(0)
	if digits > 0 && fraction != "" {
		part, err = strconv.ParseUint((fraction + "000000000")[:digits], 10, 63)
		if err != nil {
			return time.Time{}, false
		}
	}
	unit := uint64(1)
	for range digits {
		unit *= 10
	}
	perSecond := 1_000_000_000 / unit
	return time.Unix(int64(n/perSecond), int64(n%perSecond*unit+part)).UTC(), true
}

// UUIDTime returns the time in an id that is a UUIDv7 (RFC 9562, Section 5.7),
// in milliseconds.
func UUIDTime(id string) (time.Time, bool) {
	key := attestlog.KeyOf(id, time.Unix(0, 0), "", "")
	if key != attestlog.KeyOf(id, time.Unix(1, 0), "", "") {
		return time.Time{}, false // the key of any other id depends on the time
	}
	milliseconds := binary.BigEndian.Uint64(key[:]) >> 16
	return time.UnixMilli(int64(milliseconds)).UTC(), true
}
