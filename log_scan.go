package attestlog

import (
	"context"
	"errors"
)

// A ScanFunc is the Scan of a Reader.
type ScanFunc func(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error

// Bounds of what ScanPast reads together.
const (
	firstScan = 64
	maxScan   = 2_048
	scanBytes = 1 << 20
)

// ScanPast calls fn with each entry from ≤ index < to, all of which the log has, in
// order, until fn returns an error, which ScanPast returns. It goes on past damage: fn
// is given an entry with Err in the place of one that is missing, or that scan fails at
// with a *CorruptError. Any other error of scan ends it, after the entries that were
// read before. Nothing of the store is held while fn runs. The bytes are valid only
// during the call.
func ScanPast(ctx context.Context, scan ScanFunc, from, to uint64, fn func(*RawEntry) error) error {
	var held heldEntries
	step := uint64(firstScan)
	for from < to {
		held.reset()
		end := min(to, from+step)
		scanErr := scan(ctx, from, end, held.add)
		isFull := errors.Is(scanErr, errEnough)
		var corrupt *CorruptError
		isCorrupt := errors.As(scanErr, &corrupt)

		for i := range held.entries {
			e := &held.entries[i]
			if e.Index < from || e.Index >= end { // none that was asked for
				continue
			}
			err := giveMissing(from, e.Index, fn)
			if err == nil {
				err = fn(e)
			}
			if err != nil {
				return err
			}
			from = e.Index + 1
		}

		switch {
		case isFull:
			step = max(uint64(len(held.entries))/2, 1) // large entries would take memory
			continue
		case isCorrupt && step > 1 && from < end:
			step = 1 // to find out which one it is
			continue
		case isCorrupt && from < end:
			err := fn(&RawEntry{Index: from, Err: corrupt})
			if err != nil {
				return err
			}
			from++
			continue
		case scanErr != nil && !isCorrupt:
			return scanErr
		}

		err := giveMissing(from, end, fn)
		if err != nil {
			return err
		}
		from = end
		step = min(2*step, maxScan) // many small entries cost less together
	}
	return nil
}

// giveMissing calls fn with entries that are missing.
func giveMissing(from, to uint64, fn func(*RawEntry) error) error {
	for index := from; index < to; index++ {
		err := fn(&RawEntry{Index: index, Err: &CorruptError{index, "leaf", errors.New("missing")}})
		if err != nil {
			return err
		}
	}
	return nil
}

// heldEntries are entries with memory of their own, which is used again.
type heldEntries struct {
	entries     []RawEntry
	disclosures []Disclosure
	bytes       []byte
}

// errEnough ends a scan that has read scanBytes.
var errEnough = errors.New("enough was read")

func (h *heldEntries) reset() {
	h.entries = h.entries[:0]
	h.disclosures = h.disclosures[:0]
	h.bytes = h.bytes[:0]
}

func (h *heldEntries) add(e *RawEntry) error {
	if len(h.bytes) > scanBytes {
		return errEnough
	}

	first := len(h.disclosures)
	for i := range e.Disclosures {
		d := e.Disclosures[i]
		d.Value = h.keep(d.Value)
		h.disclosures = append(h.disclosures, d)
	}
	h.entries = append(h.entries, RawEntry{
		Index:       e.Index,
		Leaf:        h.keep(e.Leaf),
		Disclosures: h.disclosures[first:len(h.disclosures):len(h.disclosures)],
		Err:         e.Err,
	})
	return nil
}

// keep copies bytes. What was kept before stays where it is when the memory grows.
func (h *heldEntries) keep(b []byte) []byte {
	first := len(h.bytes)
	h.bytes = append(h.bytes, b...)
	return h.bytes[first:len(h.bytes):len(h.bytes)]
}
