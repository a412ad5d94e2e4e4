package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/wake"
	"github.com/attestlog/attestlog/witness"
)

// Witnesses cosign the checkpoints of a log.
type Witnesses struct {
	witness.Quorum
	// Require gives out no checkpoint that fewer than Quorum.Need witnesses
	// cosigned, but the last one that they did. Receipts do not wait. Defaults to
	// giving out the newest checkpoint if the last cosigned one is more than ten
	// seconds old.
	Require bool
}

const (
	// cosignEvery is how often witnesses are asked at most.
	cosignEvery = time.Second
	// cosignWait bounds the time that all witnesses together may take.
	cosignWait = 15 * time.Second
	// cosignFresh is how long a cosigned checkpoint is given out although there is
	// a newer one without cosignatures.
	cosignFresh = 10 * time.Second

	// A witness may know a larger tree than the checkpoint's, because another server
	// of the log has asked it for a newer one. If that is so more often than this in
	// a row, the log was rolled back.
	rolledBackPatience = 5
)

// errNotCosigned is returned while witnesses are required and have not cosigned a
// checkpoint.
var errNotCosigned = errors.New("the witnesses have not cosigned a checkpoint yet")

// A checkpointer is a log, as a publisher needs it: *attestlog.Log.
type checkpointer interface {
	Checkpoint(ctx context.Context) (attestlog.Checkpoint, error)
	Publish(ctx context.Context) (attestlog.Checkpoint, error)
	ConsistencyProof(ctx context.Context, from, to uint64) ([]attestlog.Hash, error)
}

// A publisher gives out the checkpoints of one log, and has witnesses cosign them.
type publisher struct {
	name      string
	log       checkpointer
	witnesses *Witnesses // nil without any
	alarms    alarmSetter
	metrics   *metrics
	clock     func() time.Time

	mu       sync.Mutex
	cosigned attestlog.Checkpoint // the newest with cosignatures; without a Note there is none yet
	when     time.Time            // when it was cosigned
	changed  wake.Signal          // fired when cosigned changes

	// These are owned by the goroutine that asks the witnesses.
	rolledBack   int       // times in a row that a witness knew a larger tree
	missingSince time.Time // since when too few have cosigned; zero if enough do
}

// newest returns the newest checkpoint that the server gives out.
func (p *publisher) newest(ctx context.Context) (attestlog.Checkpoint, error) {
	newest, err := p.log.Checkpoint(ctx)
	if err != nil || p.witnesses == nil {
		return newest, err
	}

	cosigned, when := p.lastCosigned()
	if p.witnesses.Require {
		if cosigned.Note == nil {
			return attestlog.Checkpoint{}, errNotCosigned
		}
		return cosigned, nil
	}

	fresh := cosigned.Size == newest.Size || p.clock().Sub(when) < cosignFresh
	if cosigned.Note != nil && fresh {
		return cosigned, nil
	}
	return newest, nil
}

// publish has a checkpoint signed over all that was acknowledged, and returns it.
// Where witnesses are required it waits for them.
func (p *publisher) publish(ctx context.Context) (attestlog.Checkpoint, error) {
	signed, err := p.log.Publish(ctx)
	if err != nil || p.witnesses == nil || !p.witnesses.Require {
		return signed, err
	}

	ctx, cancel := context.WithTimeout(ctx, cosignWait)
	defer cancel()
	for {
		changed := p.changed.Next()
		cosigned, _ := p.lastCosigned()
		if cosigned.Note != nil && cosigned.Size >= signed.Size {
			return cosigned, nil
		}

		select {
		case <-changed:
		case <-ctx.Done():
			return cosigned, errNotCosigned
		}
	}
}

func (p *publisher) lastCosigned() (attestlog.Checkpoint, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cosigned, p.when
}

func (p *publisher) setCosigned(c attestlog.Checkpoint) {
	p.mu.Lock()
	p.cosigned = c
	p.when = p.clock()
	p.mu.Unlock()

	p.changed.Fire()
}

// run asks the witnesses for each new checkpoint until ctx ends.
func (p *publisher) run(ctx context.Context) {
	ticker := time.NewTicker(cosignEvery)
	defer ticker.Stop()

	for {
		select {
		case <-ticker.C:
			p.askWitnesses(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// askWitnesses asks the witnesses to cosign the newest checkpoint, unless they
// have.
func (p *publisher) askWitnesses(ctx context.Context) {
	newest, err := p.log.Checkpoint(ctx)
	if err != nil || newest.Size == 0 {
		return
	}
	cosigned, _ := p.lastCosigned()
	if cosigned.Note != nil && cosigned.Size == newest.Size {
		return
	}

	timed, cancel := context.WithTimeout(ctx, cosignWait)
	defer cancel()
	note, failures, err := p.witnesses.Cosign(timed, newest.Note, p.log.ConsistencyProof)
	if ctx.Err() != nil {
		return // the server closes; that says nothing of the witnesses
	}

	p.metrics.witnessFailures.WithLabelValues(p.name).Add(float64(len(failures)))
	p.watchForks(errors.Join(append(failures, err)...))
	p.watchMissing(err)

	// Too few cosignatures are better than none, unless enough are required.
	enough := err == nil
	some := len(note) > len(newest.Note)
	if !enough && (p.witnesses.Require || !some) {
		return
	}
	p.metrics.cosignedSize.WithLabelValues(p.name).Set(float64(newest.Size))
	newest.Note = note
	p.setCosigned(newest)
}

// watchForks raises an alarm if a witness knows another history of the log. err
// joins all that the witnesses said; the alarm ends when it is nil.
func (p *publisher) watchForks(err error) {
	if errors.Is(err, witness.ErrRolledBack) {
		p.rolledBack++
	} else {
		p.rolledBack = 0
	}

	forked := errors.Is(err, witness.ErrForked) || p.rolledBack > rolledBackPatience
	if forked || err == nil {
		p.alarms.set(AlarmFork, err)
	}
}

// watchMissing raises an alarm if too few witnesses have cosigned for a while. err
// is nil if enough have.
func (p *publisher) watchMissing(err error) {
	if err == nil {
		p.missingSince = time.Time{}
		p.alarms.set(AlarmWitness, nil)
		return
	}

	now := p.clock()
	if p.missingSince.IsZero() {
		p.missingSince = now
	}
	if now.Sub(p.missingSince) > alarmAfter {
		p.alarms.set(AlarmWitness, err)
	}
}
