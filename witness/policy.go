package witness

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

// ErrTooFew is returned when fewer witnesses cosigned than Policy.Need.
var ErrTooFew = errors.New("too few witnesses cosigned")

// A Policy asks several witnesses, and says how many must cosign. It is safe
// for concurrent use.
type Policy struct {
	Witnesses []*Client // with a key of its own each
	Need      int       // 0 asks, and is content with none
}

// Cosign asks all witnesses at once, waits for each of them to answer or fail,
// and returns the checkpoint with every valid cosignature, in the order of
// Witnesses. It calls proof from several goroutines at once, all of which have
// ended when it returns.
//
// failures has an error for each witness that did not cosign; see
// Client.Cosign. Look at them also if enough cosigned: one that wraps ErrForked
// is an alarm. err wraps ErrTooFew and the failures if fewer than Need
// cosigned; the note then has those that there are.
func (p Policy) Cosign(ctx context.Context, checkpoint []byte, proof Proof) (cosigned []byte, failures []error, err error) {
	if err := p.check(); err != nil {
		return nil, nil, err
	}
	got := make([]note.Signature, len(p.Witnesses))
	errs := make([]error, len(p.Witnesses))
	var wg sync.WaitGroup
	for i, c := range p.Witnesses {
		wg.Go(func() { got[i], errs[i] = c.ask(ctx, checkpoint, proof) })
	}
	wg.Wait()
	var sigs []note.Signature
	for i, c := range p.Witnesses {
		if errs[i] != nil {
			failures = append(failures, fmt.Errorf("witness %s: %w", c.Verifier.name, errs[i]))
			continue
		}
		sigs = append(sigs, got[i])
	}
	if cosigned, err = addSignatures(checkpoint, sigs...); err != nil {
		return nil, failures, err
	}
	if len(sigs) < p.Need {
		return cosigned, failures, fmt.Errorf("witness: %w: %d, and %d are needed: %w", ErrTooFew, len(sigs), p.Need, errors.Join(failures...))
	}
	return cosigned, failures, nil
}

// check refuses a policy that cannot be met, or that one witness could meet
// alone: Ed25519 cosignatures do not commit to the name of the key.
func (p Policy) check() error {
	if p.Need < 0 || p.Need > len(p.Witnesses) {
		return fmt.Errorf("witness: a policy needs %d of %d witnesses", p.Need, len(p.Witnesses))
	}
	names := map[string]string{}
	for _, c := range p.Witnesses {
		if c.Verifier == nil {
			return fmt.Errorf("witness: the client of %q needs its witness's key", c.URL)
		}
		if other, ok := names[string(c.Verifier.public)]; ok {
			return fmt.Errorf("witness: %s and %s have the same key", other, c.Verifier.name)
		}
		names[string(c.Verifier.public)] = c.Verifier.name
	}
	return nil
}
