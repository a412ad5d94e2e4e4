package lasting

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStateIsLoggedWhenItBeginsLastsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		var s State
		note := func(err error) { s.Note(err, logger, slog.LevelWarn, "away", "back", "log", "l") }

		note(nil) // it has not begun
		away := errors.New("no answer")
		for range 1_300 { // 130 seconds
			note(away)
			time.Sleep(100 * time.Millisecond)
		}
		note(nil)
		note(nil)
		note(away)

		want := []string{
			`level=WARN msg=away log=l err="no answer"`,
			`level=WARN msg=away log=l err="no answer" times=601`,
			`level=WARN msg=away log=l err="no answer" times=1201`,
			`level=INFO msg=back log=l after=2m10s times=1300`,
			`level=WARN msg=away log=l err="no answer"`,
		}
		if got := strings.TrimSpace(out.String()); got != strings.Join(want, "\n") {
			t.Errorf("logged\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}
