package auditslog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditslog"
)

// A printer prints events where a program would have its *attestlog.Log.
type printer struct{}

func (printer) Record(_ context.Context, e attestlog.Event) error {
	fmt.Println("event:", e.Action, e.Actor.ID, e.Targets, e.Outcome, e.Reason, e.Attributes)
	return nil
}

func Example() {
	text := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	logger := slog.New(auditslog.New(text, printer{}, auditslog.Config{}))

	audit := logger.WithGroup("audit").With("actor", "alice")
	audit.Info("mail.view", "target", "mail/7", "folder", "inbox")
	audit.Info("mail.delete", "target", "mail/8", "err", errors.New("it must be kept"))
	logger.Info("the cache is cold")
	// Output:
	// event: mail.view alice [{7 mail }]   map[folder:inbox]
	// event: mail.delete alice [{8 mail }] failure it must be kept map[]
	// level=INFO msg="the cache is cold"
}
