package attestlog

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestlog/attestlog/internal/canon"
)

func TestPointersThatCannotBeSealedAreRefused(t *testing.T) {
	for _, p := range []string{"", "/", "actor/name", "/actor", "/tenant", "/targets/0/id", "/attributes", "/attributes/a/b", "/attributes/~2", "/attributes/\xff"} {
		if _, err := newSealSet([]string{p}); err == nil || !strings.HasPrefix(err.Error(), "sealed pointer ") {
			t.Errorf("newSealSet(%q) = %v, want an error that names the pointer", p, err)
		}
	}
}

// A salt that came twice would show that two values are equal, and one that can
// be guessed what a value is after it was erased.
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

// What the caller's goroutine leaves open is written in place, so that the
// leaf's other bytes must stay where they are.
func TestFinishingALeafFillsInItsSeals(t *testing.T) {
	logged := "2026-01-02T03:04:05.000006Z"
	for _, v := range vectorInputs {
		e, err := ParseEvent(v.Event)
		if err != nil {
			t.Fatal(err)
		}
		set, err := newSealSet(v.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		want := leafWriter{seals: &set}
		d, err := (&encoder{set}).encode(new(scratch), &e, time.Time{})
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		for _, one := range d.disclosures(nil) {
			want.sealed = append(want.sealed, Seal{one.Pointer, one.Digest()})
		}
		want.leaf(&e, logged)
		d.finish([]byte(logged))
		if string(d.leaf()) != string(want.buf) {
			t.Errorf("%s: leaf\n%s\nwant\n%s", v.Name, d.leaf(), want.buf)
		}
	}
}

// Drafts that an arena keeps are their own: neither the next event of the scratch nor
// finishing a neighbour changes one.
func TestKeptDraftsAreTheirOwn(t *testing.T) {
	set, err := newSealSet([]string{"/actor/name", "/attributes/a~1b"})
	if err != nil {
		t.Fatal(err)
	}
	enc := &encoder{set}
	logged := time.Unix(1_790_000_000, 0)
	text := canon.AppendTime(nil, logged, 6)
	size := rapid.OneOf(rapid.IntRange(0, 2_000), rapid.IntRange(0, 60_000))
	rapid.Check(t, func(t *rapid.T) {
		r := new(scratch)
		var kept arena
		var drafts []draft
		var events []Event
		var before [][]byte
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := Event{
				Action: "a", Actor: Actor{ID: "x", Name: strings.Repeat("n", rapid.IntRange(0, 99).Draw(t, "name"))},
				Tenant: strings.Repeat("t", size.Draw(t, "tenant")), Attributes: map[string]any{"a/b": "sealed"},
			}
			if rapid.Bool().Draw(t, "original") {
				e.Original = bytes.Repeat([]byte("o"), size.Draw(t, "bytes"))
			}
			d, err := enc.encode(r, &e, logged)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "refused") { // by a full queue
				continue
			}
			kept.copy(&d, rapid.IntRange(0, 50).Draw(t, "more"))
			drafts, events, before = append(drafts, d), append(events, e), append(before, bytes.Clone(d.sealed))
		}
		for i := len(drafts) - 1; i >= 0; i-- {
			drafts[i].finish(text)
		}
		for i := range drafts {
			leaf, err := ParseLeaf(drafts[i].leaf())
			if err != nil || !bytes.Equal(drafts[i].sealed, before[i]) || !leaf.LoggedTime.Equal(logged) {
				t.Fatalf("draft %d was changed: %v", i, err)
			}
			got, _, err := leaf.disclosed(drafts[i].disclosures(nil))
			if err != nil || got.Actor != events[i].Actor || got.Tenant != events[i].Tenant || !bytes.Equal(got.Original, events[i].Original) || got.Attributes["a/b"] != "sealed" {
				t.Fatalf("draft %d is another event: %v", i, err)
			}
		}
	})
}
