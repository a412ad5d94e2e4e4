package audit

import (
	"context"
	"log/slog"
	"time"

	"github.com/attestlog/attestlog/internal/auditview"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/retry"
)

const (
	feedEvery = time.Second      // how often new entries are shown
	lastFeed  = 10 * time.Second // bounds what Close waits for it
)

// feedView shows new entries in the view that has the table's name, if there is one,
// until ctx ends, and then those that were stored until then.
func (l *Logger) feedView(ctx context.Context) {
	feeder := auditview.NewFeeder(l.pool, l.log, l.schema, l.logger)
	var failing lasting.State
	feed := func(ctx context.Context) {
		for more := true; more && ctx.Err() == nil; {
			var err error
			more, err = feeder.Step(ctx)
			if ctx.Err() != nil {
				return
			}
			failing.Note(err, l.logger, slog.LevelError,
				"audit: the view audit_log lacks new entries; the log has them", "audit: the view audit_log shows new entries again")
			if err != nil {
				return
			}
		}
	}

	for retry.Sleep(ctx, feedEvery) == nil {
		feed(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFeed)
	defer cancel()
	feed(last)
}
