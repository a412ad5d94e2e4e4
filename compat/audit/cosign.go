package audit

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/retry"
	"github.com/attestlog/attestlog/witness"
)

const (
	cosignEvery = 10 * time.Second
	cosignWait  = 30 * time.Second
)

// A cosigner shows the log's checkpoints to witnesses, who would see that it was
// put back or forked.
type cosigner struct {
	l         *Logger
	witnesses *witness.Quorum

	shown   uint64 // size of the last checkpoint that enough have cosigned
	failing lasting.State
}

// run asks for cosignatures until ctx ends.
func (c *cosigner) run(ctx context.Context) {
	for retry.Sleep(ctx, cosignEvery) == nil {
		err := c.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		c.failing.Note(err, c.l.logger, slog.LevelError,
			"audit: the newest checkpoint is not cosigned", "audit: checkpoints are cosigned again")
	}
}

func (c *cosigner) ask(ctx context.Context) error {
	newest, err := c.l.log.Checkpoint(ctx)
	if err != nil || newest.Size == c.shown {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, cosignWait)
	defer cancel()
	_, failures, err := c.witnesses.Cosign(ctx, newest.Note, c.l.log.ConsistencyProof)
	for _, failure := range failures {
		if errors.Is(failure, witness.ErrForked) || errors.Is(failure, witness.ErrRolledBack) {
			c.l.logger.Error("audit: a witness knows another history of the log", "err", failure)
		}
	}
	if err == nil {
		c.shown = newest.Size
	}
	return err
}
