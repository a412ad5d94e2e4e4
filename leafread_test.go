package attestlog

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What instant reads is what package time reads.
func TestInstantIsTheTimeItReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(minTime.Unix(), maxTime.Unix()-1).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		if got, ok := instant(appendTime(nil, at, 9), 9); !ok || got != at.UnixNano() {
			t.Errorf("instant(%v) = %d, want %d", at, got, at.UnixNano())
		}
		micros := at.Truncate(time.Microsecond)
		if got, ok := instant(appendTime(nil, micros, 6), 6); !ok || got != micros.UnixNano() {
			t.Errorf("instant(%v) = %d, want %d", micros, got, micros.UnixNano())
		}
	})
}
