package attestlog

import (
	"errors"
	"testing"
)

// A line of a damaged entry is read back as one, whatever the store has in it.
func TestTheLineOfADamagedEntry(t *testing.T) {
	for _, err := range []error{
		&CorruptError{7, "leaf", errors.New("missing")},
		&CorruptError{7, "disclosure /source/ip\xff\n", errors.New("is \"not\": what it was")},
		errors.New("plain"),
	} {
		line := AppendLine(nil, &RawEntry{Index: 7, Err: err, Leaf: []byte("{}")})
		r, parseErr := ParseLine(line)
		if parseErr != nil || r.Index != 7 || r.Err == nil || r.Leaf != nil {
			t.Errorf("ParseLine(%s) = %+v, %v; want damaged entry 7", line, r, parseErr)
		}
		again := AppendLine(nil, &r)
		if string(again) != string(line) {
			t.Errorf("%s is written as %s", line, again)
		}
		e, entryErr := r.Entry()
		if entryErr != nil || e.Err == nil || e.Index != 7 {
			t.Errorf("Entry = %+v, %v; want its Err", e, entryErr)
		}
	}
}
