package attestlog

import (
	"fmt"
	"maps"
	"slices"
)

// answerDuplicates answers the drafts whose keys are taken. Conflicts with what
// is stored are reported all at once; those with earlier drafts only when there
// is no other, and of one job, because those drafts may themselves be given up.
func (s *sequenced) answerDuplicates(tx Tx, size uint64, dups []Duplicate) error {
	stored, within := &conflictError{}, &conflictError{}
	for _, dup := range dups {
		same, err := s.duplicate(tx, size, dup)
		if err != nil {
			return err
		}
		if same {
			continue
		}
		job := s.owner[dup.Position]
		err = fmt.Errorf("id %s is entry %d: %w", s.drafts[dup.Position].id(), dup.Index, ErrConflict)
		if dup.Index < size {
			stored.add(job, s.place[dup.Position], err)
		} else if len(within.jobs) == 0 || within.jobs[job] != nil {
			within.add(job, s.place[dup.Position], err)
		}
	}
	switch {
	case len(stored.jobs) > 0:
		return stored
	case len(within.jobs) > 0:
		return within
	}
	return nil
}

// duplicate answers a draft whose key is taken with the receipt of the entry
// that has it, and reports whether that has the same content.
func (s *sequenced) duplicate(tx Tx, size uint64, dup Duplicate) (bool, error) {
	d := s.drafts[dup.Position]
	var stored RawEntry
	if dup.Index >= size {
		stored = s.batch.Entries[dup.Index-size]
	} else {
		var err error
		if stored, err = tx.Entry(dup.Index); err != nil {
			return false, err
		}
	}
	leaf, err := decodeLeaf(stored.Leaf)
	if err != nil {
		return false, &CorruptError{dup.Index, "leaf", err}
	}
	same, err := d.sameContent(&leaf, stored.Disclosures)
	if err != nil {
		return false, &CorruptError{dup.Index, "disclosures", err}
	}
	if !same {
		return false, nil
	}
	s.duplicates++
	if r := s.receipts[dup.Position]; r != nil {
		*r = Receipt{dup.Index, leaf.Event.ID, LeafHash(stored.Leaf), leaf.LoggedTime}
	}
	return true, nil
}

// sameContent compares the event as it was submitted with a stored entry:
// without the logged time, without the time unless the submitted event gave
// one, and with erased fields equal to anything.
func (d *draft) sameContent(stored *Leaf, disclosures []Disclosure) (bool, error) {
	was, erased, err := stored.sealedEvent(disclosures)
	if err != nil {
		return false, err
	}
	appendTime(d.leaf()[:d.loggedAt], stored.LoggedTime, 6) // in the place kept for it
	leaf, err := decodeLeaf(d.leaf())
	if err != nil {
		return false, err
	}
	is, _, err := leaf.sealedEvent(d.disclosures(nil))
	if err != nil {
		return false, err
	}
	if d.implicitTime {
		is.Time = was.Time
	}
	for _, pointer := range erased {
		blank(&is, pointer)
		blank(&was, pointer)
	}
	a, err := is.MarshalJSON()
	if err != nil {
		return false, err
	}
	b, err := was.MarshalJSON()
	return string(a) == string(b), err
}

func blank(e *Event, pointer string) {
	if name, ok := attributeName(pointer); ok {
		delete(e.Attributes, name)
		return
	}
	if pointer == "/original" {
		e.Original = nil
		return
	}
	for i := range sealable {
		if sealable[i].pointer == pointer {
			*sealable[i].field.of(e) = ""
		}
	}
}

// A conflictError names the jobs whose ids are taken, so that the rest of the
// batch can go on without them, and of each job the drafts.
type conflictError struct {
	jobs map[int]map[int]error
}

func (e *conflictError) add(job, place int, err error) {
	if e.jobs == nil {
		e.jobs = map[int]map[int]error{}
	}
	if e.jobs[job] == nil {
		e.jobs[job] = map[int]error{}
	}
	e.jobs[job][place] = err
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("%d calls with ids that are taken", len(e.jobs))
}

// without fails the jobs of a batch that conflict, and returns the others.
func (l *Log) without(batch []job, conflicts map[int]map[int]error) []job {
	kept := batch[:0]
	for i := range batch {
		of := conflicts[i]
		if of == nil {
			kept = append(kept, batch[i])
			continue
		}
		first := slices.Min(slices.Collect(maps.Keys(of)))
		if c := batch[i].call; c != nil {
			c.conflicts = of
		}
		events, bytes := batch[i].events(), batch[i].bytes()
		l.fail(&batch[i], of[first])
		l.queue.release(events, bytes)
	}
	clear(batch[len(kept):])
	return kept
}
