package canon

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTimesAreWrittenWithFixedDigits(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 6_007_008, time.FixedZone("", 3600))
	for digits, want := range map[int]string{
		9: "2026-01-02T02:04:05.006007008Z",
		6: "2026-01-02T02:04:05.006007Z",
	} {
		got := string(AppendTime(nil, when, digits))
		if got != want {
			t.Errorf("AppendTime(%v, %d) = %s, want %s", when, digits, got, want)
		}
	}
}

// Package time is the oracle for what is written and what is read.
func TestTimesAreThoseOfPackageTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Int64Range(MinTime.Unix(), MaxTime.Unix()-1).Draw(t, "seconds")
		nanos := rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")
		when := time.Unix(seconds, nanos).UTC()

		for digits, layout := range map[int]string{
			9: "2006-01-02T15:04:05.000000000Z",
			6: "2006-01-02T15:04:05.000000Z",
		} {
			text := AppendTime(nil, when, digits)
			if want := when.Format(layout); string(text) != want {
				t.Errorf("AppendTime(%v, %d) = %s, want %s", when, digits, text, want)
			}

			written := when
			if digits == 6 {
				written = when.Truncate(time.Microsecond)
			}
			got, ok := ParseTime(text, digits)
			if !ok || got != written.UnixNano() {
				t.Errorf("ParseTime(%s) = %d, %t, want %d", text, got, ok, written.UnixNano())
			}
		}
	})
}

func TestParseTimeWantsTheLengthAndTheZone(t *testing.T) {
	for _, text := range []string{"", "2026-01-02T02:04:05Z", "2026-01-02T02:04:05.006007008Z", "2026-01-02T02:04:05.006007+"} {
		nanos, ok := ParseTime([]byte(text), 6)
		if ok {
			t.Errorf("ParseTime(%q, 6) = %d, want not ok", text, nanos)
		}
	}
}
