package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// openReplica opens the reader, which may not have received a new log yet.
func (s *Store) openReplica(ctx context.Context) (err error) {
	if s.cfg.Reader == "" {
		return nil
	}
	cfg := s.cfg
	cfg.Reader, cfg.ReadOnly = "", true
	for began := time.Now(); ; {
		s.replica, err = Open(ctx, s.cfg.Reader, cfg)
		if !errors.Is(err, ErrNoLog) || time.Since(began) > s.cfg.Retry || ctx.Err() != nil {
			break
		}
		time.Sleep(retryFirst)
	}
	if err != nil {
		return fmt.Errorf("the reader: %w", err)
	}
	s.replica.isReplica = true
	if s.replica.index.key != s.index.key {
		return errors.New("the reader: it has another log of this name")
	}
	return nil
}
