package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/attestlog/attestlog/internal/retry"
)

// openReplica opens the reader. It may not have received a new log yet, so that
// is waited for, as long as Config.Retry.
func (s *Store) openReplica(ctx context.Context) error {
	if s.cfg.Reader == "" {
		return nil
	}

	cfg := s.cfg
	cfg.Reader = ""
	cfg.ReadOnly = true
	began := time.Now()
	for {
		replica, err := Open(ctx, s.cfg.Reader, cfg)
		if err == nil {
			s.replica = replica
			break
		}
		if !errors.Is(err, ErrNoLog) || time.Since(began) > s.cfg.Retry {
			return fmt.Errorf("the reader: %w", err)
		}

		ended := retry.Sleep(ctx, retryFirst)
		if ended != nil {
			return fmt.Errorf("the reader: %w", err)
		}
	}

	// The key of the search index was drawn at random when the log was made.
	s.replica.isReplica = true
	if s.replica.index.key != s.index.key {
		return errors.New("the reader: it has another log of this name")
	}
	return nil
}
