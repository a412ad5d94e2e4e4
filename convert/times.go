package convert

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

// layouts are those of times that are not in RFC 3339.
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

// findTime returns the record's time, or zero. It takes only RFC 3339 out of the
// object. Any other spelling stays there, to show what was read.
func findTime(o Object, names []string) time.Time {
	for _, name := range names {
		v, _ := o.At(name)
		switch v := v.(type) {
		case string:
			if t, ok := ParseTime(v, time.RFC3339); ok {
				o.Take(name)
				return t
			}
			if t, ok := parseAnyTime(v); ok {
				return t
			}
		case json.Number:
			if t, ok := parseUnix(v.String()); ok {
				return t
			}
		}
	}
	return time.Time{}
}

func parseAnyTime(text string) (time.Time, bool) {
	if t, ok := ParseTime(text, layouts...); ok {
		return t, true
	}
	return parseUnix(text)
}

// ParseTime reads a time in the first of some layouts that fits. The result is in
// UTC. A time without a zone is taken as UTC. Of zones that have a name and no
// offset, only UTC and GMT are read: others mean different offsets in different
// places, and the result must not depend on where the program runs. The zero time
// is not read.
func ParseTime(text string, layouts ...string) (time.Time, bool) {
	for _, layout := range layouts {
		t, err := time.ParseInLocation(layout, text, time.UTC)
		if err != nil || t.IsZero() {
			continue
		}

		onlyName := strings.Contains(layout, "MST") && !strings.Contains(layout, "-0700")
		if zone, _ := t.Zone(); onlyName && zone != "UTC" && zone != "GMT" {
			continue
		}
		return t.UTC(), true
	}
	return time.Time{}, false
}

// parseUnix reads a decimal number of seconds, milliseconds, microseconds or
// nanoseconds since 1970: the unit with which the time is between 1973 and 5138.
func parseUnix(text string) (time.Time, bool) {
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

	// A unit has this many digits in nanoseconds: 9 for seconds, 0 for nanoseconds.
	digits := 9
	for limit := uint64(1e11); n >= limit && digits > 0; limit *= 1000 {
		digits -= 3
	}
	unit := uint64(1)
	for range digits {
		unit *= 10
	}

	nanoseconds := uint64(0) // of the fraction
	if digits > 0 && fraction != "" {
		nanoseconds, err = strconv.ParseUint((fraction + "000000000")[:digits], 10, 63)
		if err != nil {
			return time.Time{}, false
		}
	}

	perSecond := 1_000_000_000 / unit
	return time.Unix(int64(n/perSecond), int64(n%perSecond*unit+nanoseconds)).UTC(), true
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
