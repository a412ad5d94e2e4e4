package witness

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestModel sends what logs that grow, fork and go back might send, right and
// wrong, to a witness that restarts now and then, and compares each answer
// with a model's: the size and history that were cosigned last.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const largest = 20
		main := newTestLog(t, origin, largest)
		branches := []*testLog{main}
		for i := range 3 {
			at := uint64(rapid.IntRange(0, largest-1).Draw(rt, "forks at"))
			from := rapid.SampledFrom(branches).Draw(rt, "from")
			branches = append(branches, from.fork(t, at, largest, fmt.Sprint(i)))
		}
		cfg := config(t, main)
		w := open(t, cfg)
		cfg.Create = false
		known, root := uint64(0), main.root(t, 0)
		send := func(rt *rapid.T) {
			branch := rapid.SampledFrom(branches).Draw(rt, "branch")
			size := uint64(rapid.IntRange(0, largest).Draw(rt, "size"))
			old := rapid.OneOf(rapid.Just(known), rapid.Uint64Range(0, largest)).Draw(rt, "old")
			r := branch.request(t, min(old, size), size)
			right := slices.Clone(r.proof)
			r.old = old
			switch rapid.IntRange(0, 5).Draw(rt, "proof") {
			case 0:
				r.proof = branch.request(t, size/2, size).proof
			case 1:
				r.proof = append(r.proof, root)
			}
			want := 200
			switch {
			case old > size:
				want = 400
			case old != known, size == known && branch.root(t, size) != root:
				want = 409
			case !slices.Equal(r.proof, right), branch.root(t, old) != root:
				want = 422
			}
			line, err := w.cosign(t.Context(), r.marshal())
			if got := status(err); got != want {
				rt.Fatalf("witness at %d, request %d to %d: %d (%v), want %d", known, old, size, got, err, want)
			}
			if no, ok := err.(*refusal); ok && want == 409 && no.known != known {
				rt.Fatalf("status 409 tells %d, want %d", no.known, known)
			}
			if want == 200 {
				verifyLine(t, r.note, string(line), cfg.Signer.Verifier())
				known, root = size, branch.root(t, size)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"send": send, "send again": send, "send more": send,
			"restart": func(rt *rapid.T) { w = open(t, cfg) },
		})
	})
}

// status is what cosign's error would be sent as.
func status(err error) int {
	if err == nil {
		return 200
	}
	if no, ok := err.(*refusal); ok {
		return no.status
	}
	return 500
}
