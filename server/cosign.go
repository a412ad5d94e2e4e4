package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/witness"
)

// Witnesses cosign the checkpoints of a log.
type Witnesses struct {
	witness.Quorum
	// Require publishes nothing that fewer than Quorum.Need witnesses cosigned: the
	// checkpoint that the server gives out stays the last one that they did.
	// Receipts do not wait. Defaults to giving out the newest if the last one with
	// any cosignatures is more than ten seconds old.
	Require bool
}

const (
	// cosignEvery is how often witnesses are asked at most.
	cosignEvery = time.Second
	cosignWait  = 15 * time.Second
	// cosignFresh is how long a cosigned checkpoint is given out although there is
	// a newer one without cosignatures.
	cosignFresh = 10 * time.Second
)

// cosigned is the newest checkpoint that witnesses cosigned, as the policy wants.
type cosigned struct {
	mu   sync.Mutex
	last attestlog.Checkpoint
	at   time.Time
}

// errNotCosigned is returned while nothing may be published.
var errNotCosigned = errors.New("the witnesses have not cosigned a checkpoint yet")

// published returns the checkpoint that the server gives out.
func (s *Server) published(ctx context.Context, h *hosted) (attestlog.Checkpoint, error) {
	newest, err := h.log.Checkpoint(ctx)
	if err != nil || h.witnesses == nil {
		return newest, err
	}
	h.cosigned.mu.Lock()
	last, at := h.cosigned.last, h.cosigned.at
	h.cosigned.mu.Unlock()
	fresh := last.Size == newest.Size || s.cfg.Clock().Sub(at) < cosignFresh
	switch {
	case last.Note != nil && (h.witnesses.Require || fresh):
		return last, nil
	case h.witnesses.Require:
		return attestlog.Checkpoint{}, errNotCosigned
	}
	return newest, nil
}

// publishedNow has a checkpoint signed over all that was acknowledged, and where
// witnesses have to cosign it, waits for them.
func (s *Server) publishedNow(ctx context.Context, h *hosted) (attestlog.Checkpoint, error) {
	c, err := h.log.Publish(ctx)
	if err != nil || h.witnesses == nil || !h.witnesses.Require {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, cosignWait)
	defer cancel()
	ticker := time.NewTicker(cosignEvery / 10)
	defer ticker.Stop()
	for {
		got, err := s.published(ctx, h)
		if err == nil && got.Size >= c.Size {
			return got, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return got, errNotCosigned
		}
	}
}

// cosign asks a log's witnesses for each new checkpoint, until the server is
// closed. What they say of a fork is an alarm.
func (s *Server) cosign(h *hosted) {
	behind := 0           // times that a witness knew a larger tree: another server was quicker, or the log was rolled back
	var failing time.Time // since when witnesses have been missing
	ticker := time.NewTicker(cosignEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
		newest, err := h.log.Checkpoint(s.ctx)
		h.cosigned.mu.Lock()
		have := h.cosigned.last
		h.cosigned.mu.Unlock()
		if err != nil || newest.Size == 0 || have.Note != nil && newest.Size == have.Size {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, cosignWait)
		signed, failures, err := h.witnesses.Cosign(ctx, newest.Note, h.log.ConsistencyProof)
		cancel()
		if s.ctx.Err() != nil {
			return
		}
		s.metrics.unsigned.WithLabelValues(h.name).Add(float64(len(failures)))
		all := errors.Join(append(failures, err)...)
		if errors.Is(all, witness.ErrRolledBack) {
			behind++
		} else {
			behind = 0
		}
		const patience = 5
		if errors.Is(all, witness.ErrForked) || behind > patience {
			s.raise(h, AlarmFork, all.Error())
		} else if all == nil {
			s.clear(h, AlarmFork)
		}
		if err != nil {
			now := s.cfg.Clock()
			if failing.IsZero() {
				failing = now
			}
			if now.Sub(failing) > alarmAfter {
				s.raise(h, AlarmWitness, err.Error())
			}
			if h.witnesses.Require || len(signed) <= len(newest.Note) {
				continue
			}
		} else {
			failing = time.Time{}
			s.clear(h, AlarmWitness)
		}
		s.metrics.cosigned.WithLabelValues(h.name).Set(float64(newest.Size))
		newest.Note = signed
		h.cosigned.mu.Lock()
		h.cosigned.last, h.cosigned.at = newest, s.cfg.Clock()
		h.cosigned.mu.Unlock()
	}
}
