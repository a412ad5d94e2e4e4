package canon

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What ParseTime reads is what package time reads.
func TestParseTimeReadsWhatAppendTimeWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(MinTime.Unix(), MaxTime.Unix()-1).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		if got, ok := ParseTime(AppendTime(nil, at, 9), 9); !ok || got != at.UnixNano() {
			t.Errorf("ParseTime(%v) = %d, want %d", at, got, at.UnixNano())
		}
		micros := at.Truncate(time.Microsecond)
		if got, ok := ParseTime(AppendTime(nil, micros, 6), 6); !ok || got != micros.UnixNano() {
			t.Errorf("ParseTime(%v) = %d, want %d", micros, got, micros.UnixNano())
		}
	})
}
