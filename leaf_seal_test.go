package attestlog

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog/internal/canon"
)

func TestPointersThatCannotBeSealedAreRefused(t *testing.T) {
	for _, p := range []string{
		"", "/", "actor/name", "/actor", "/tenant", "/targets/0/id",
		"/attributes", "/attributes/a/b", "/attributes/~2", "/attributes/\xff",
	} {
		_, err := newSealSet([]string{p})
		if err == nil || !strings.HasPrefix(err.Error(), "sealed pointer ") {
			t.Errorf("newSealSet(%q) = %v, want an error that names the pointer", p, err)
		}
	}
}

// A salt that is used twice would show that two values are equal, and a salt that
// can be guessed would show what a value was after it has been erased.
func TestNoSaltComesTwice(t *testing.T) {
	set, err := newSealSet(DefaultSealed)
	if err != nil {
		t.Fatal(err)
	}
	enc := &encoder{set}
	scratches := []*scratch{new(scratch), new(scratch)}

	seen := map[[16]byte]bool{{}: true}
	for n := range 2_000 {
		e := Event{Action: "a", Actor: Actor{ID: "x", Name: "n"}, Source: Source{IP: "192.0.2.1", UserAgent: "u"}}
		d, err := enc.encode(scratches[n%2], &e, time.Now())
		if err != nil {
			t.Fatal(err)
		}

		for _, one := range d.disclosures(nil) {
			if seen[one.Salt] {
				t.Fatalf("event %d: %s has the salt %x, which is zero or of another seal", n, one.Pointer, one.Salt)
			}
			seen[one.Salt] = true
		}
	}

	if want := 3*2_000 + 1; len(seen) != want {
		t.Errorf("%d salts, want %d", len(seen), want)
	}
}

// The sequencer writes digests and the logged time over placeholders. The rest
// of the leaf must stay as it is.
func TestFinishingALeafFillsInItsSeals(t *testing.T) {
	const logged = "2026-01-02T03:04:05.000006Z"
	for _, v := range vectorInputs {
		e, err := ParseEvent(v.Event)
		if err != nil {
			t.Fatal(err)
		}
		set, err := newSealSet(v.Sealed)
		if err != nil {
			t.Fatal(err)
		}

		enc := &encoder{set}
		d, err := enc.encode(new(scratch), &e, time.Time{})
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		d.finish([]byte(logged))

		want := leafWriter{seals: &set}
		for _, one := range d.disclosures(nil) {
			want.sealed = append(want.sealed, Seal{one.Pointer, one.Digest()})
		}
		want.leaf(&e, logged)
		if string(d.leaf()) != string(want.buf) {
			t.Errorf("%s: leaf\n%s\nwant\n%s", v.Name, d.leaf(), want.buf)
		}
	}
}

// Drafts that an arena keeps are their own: neither the next event in the same
// scratch nor finishing a neighbour changes one.
func TestKeptDraftsAreTheirOwn(t *testing.T) {
	set, err := newSealSet([]string{"/actor/name", "/attributes/a~1b"})
	if err != nil {
		t.Fatal(err)
	}
	enc := &encoder{set}
	logged := time.Unix(1_790_000_000, 0)
	loggedText := canon.AppendTime(nil, logged, loggedDigits)

	type keptDraft struct {
		draft
		event  Event
		sealed []byte // a copy of the draft's
	}
	rapid.Check(t, func(t *rapid.T) {
		s := new(scratch)
		var kept arena
		var drafts []keptDraft
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := sealedEvent(t)
			d, err := enc.encode(s, &e, logged)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "refused") { // by a full queue
				continue
			}

			kept.copy(&d, rapid.IntRange(0, 50).Draw(t, "more"))
			drafts = append(drafts, keptDraft{d, e, bytes.Clone(d.sealed)})
		}

		for i := range slices.Backward(drafts) {
			drafts[i].finish(loggedText)
		}

		for i := range drafts {
			d := &drafts[i]
			leaf, err := ParseLeaf(d.leaf())
			if err != nil || !bytes.Equal(d.draft.sealed, d.sealed) || !leaf.LoggedTime.Equal(logged) {
				t.Fatalf("draft %d was changed: %v", i, err)
			}

			got, _, err := leaf.disclosed(d.disclosures(nil))
			want := d.event
			want.ID = got.ID // made by the log
			want.Time = got.Time
			if err != nil || !reflect.DeepEqual(want, got) {
				t.Fatalf("draft %d is another event: %v (-want +got):\n%s", i, err, cmp.Diff(want, got))
			}
		}
	})
}

// sealedEvent draws an event with sealed fields, of any size.
func sealedEvent(t *rapid.T) Event {
	size := rapid.OneOf(rapid.IntRange(0, 2_000), rapid.IntRange(0, 60_000))
	e := Event{
		Action:     "a",
		Actor:      Actor{ID: "x", Name: strings.Repeat("n", rapid.IntRange(0, 99).Draw(t, "name"))},
		Tenant:     strings.Repeat("t", size.Draw(t, "tenant")),
		Attributes: map[string]any{"a/b": "sealed"},
	}
	if rapid.Bool().Draw(t, "original") {
		e.Original = bytes.Repeat([]byte("o"), 1+size.Draw(t, "bytes"))
	}
	return e
}
