// Command worker runs jobs and logs with slog. Marked records go into an audit
// log, the others to standard error.
//
//	go run ./worker -dir /tmp/worker -jobs 3
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditpolicy"
	"github.com/attestlog/attestlog/auditslog"
	"github.com/attestlog/attestlog/sqlite"
)

func main() {
	dir := flag.String("dir", ".", "folder of the audit log")
	jobs := flag.Int("jobs", 3, "jobs to run")
	flag.Parse()
	if err := run(context.Background(), *dir, *jobs); err != nil {
		slog.Error("worker", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, jobs int) error {
	plain := slog.NewTextHandler(os.Stderr, nil)
	store, err := sqlite.Open(ctx, filepath.Join(dir, "audit.db"), sqlite.Config{})
	if err != nil {
		return err
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{Logger: slog.New(plain)})
	if err != nil {
		return err
	}
	defer log.Close(ctx)
	policy, err := auditpolicy.New(log, auditpolicy.Config{
		Floods: []auditpolicy.Flood{{Action: "job.retry", Window: time.Minute, Most: 2}},
	})
	if err != nil {
		return err
	}
	defer policy.Close(ctx)
	logger := slog.New(auditslog.New(plain, policy, auditslog.Config{}))
	audit := logger.With("worker", 1).WithGroup("audit").With("actor", slog.GroupValue(slog.String("id", "worker-1"), slog.String("type", "service")))

	for n := range jobs {
		logger.Info("job begins", "job", n)
		var err error
		for range n { // the n-th job fails as often
			err = errors.New("the mail server is busy")
			audit.Info("job.retry", "target", "queue/mail", "err", err, "password", "never stored")
		}
		audit.Info("job.run", slog.Group("target", "type", "job", "id", string(rune('a'+n))), "retries", n)
	}
	return nil
}
