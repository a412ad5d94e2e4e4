package witness

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

// ErrTooFew is returned when fewer witnesses cosigned than Quorum.Need.
var ErrTooFew = errors.New("too few witnesses cosigned")

// A Quorum asks several witnesses, and says how many must cosign. It is safe for
// concurrent use.
type Quorum struct {
	Witnesses []*Client // each with a key of its own
	Need      int       // how many must cosign; 0 asks all the same, and accepts none
}

// Cosign asks all witnesses at once, waits for each of them to answer or fail,
// and returns the checkpoint with every valid cosignature, in the order of
// Witnesses. It calls proof from several goroutines at once, all of which have
// ended when it returns.
//
// failures has an error for each witness that did not cosign; see
// Client.Cosign. Look at them even if enough witnesses cosigned: one that wraps
// ErrForked is an alarm. If fewer than Need cosigned, err wraps ErrTooFew and
// the failures, and the checkpoint has the cosignatures that there are.
func (q Quorum) Cosign(ctx context.Context, checkpoint []byte, proof Proof) (cosigned []byte, failures []error, err error) {
	err = q.check()
	if err != nil {
		return nil, nil, err
	}

	// Each goroutine writes its own elements.
	answers := make([]note.Signature, len(q.Witnesses))
	errs := make([]error, len(q.Witnesses))
	var wg sync.WaitGroup
	for i, c := range q.Witnesses {
		wg.Go(func() { answers[i], errs[i] = c.ask(ctx, checkpoint, proof) })
	}
	wg.Wait()

	var sigs []note.Signature
	for i, c := range q.Witnesses {
		if errs[i] != nil {
			failures = append(failures, fmt.Errorf("witness %s: %w", c.Verifier.name, errs[i]))
			continue
		}
		sigs = append(sigs, answers[i])
	}

	cosigned, err = addSignatures(checkpoint, sigs...)
	if err != nil {
		return nil, failures, err
	}
	if len(sigs) < q.Need {
		return cosigned, failures, fmt.Errorf("witness: %w: %d, and %d are needed: %w",
			ErrTooFew, len(sigs), q.Need, errors.Join(failures...))
	}
	return cosigned, failures, nil
}

// check refuses a quorum that cannot be reached, or that one witness could reach
// alone: Ed25519 cosignatures do not commit to the name of the key.
func (q Quorum) check() error {
	if q.Need < 0 || q.Need > len(q.Witnesses) {
		return fmt.Errorf("witness: a quorum needs %d of %d witnesses", q.Need, len(q.Witnesses))
	}

	names := map[string]string{} // of the keys' owners
	for _, c := range q.Witnesses {
		if c.Verifier == nil {
			return fmt.Errorf("witness: the client of %q needs its witness's key", c.URL)
		}
		key := string(c.Verifier.public)
		if other, ok := names[key]; ok {
			return fmt.Errorf("witness: %s and %s have the same key", other, c.Verifier.name)
		}
		names[key] = c.Verifier.name
	}
	return nil
}
