package auditdraft_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/auditdraft"
)

type key struct{}

func TestADraftIsFoundUnderItsKey(t *testing.T) {
	type otherKey struct{}
	draft := new(auditdraft.Draft)
	ctx := context.WithValue(t.Context(), key{}, draft)
	if got := auditdraft.Of(ctx, key{}); got != draft {
		t.Errorf("Of = %p, want %p", got, draft)
	}
	if got := auditdraft.Of(ctx, otherKey{}); got != nil {
		t.Errorf("Of with another key = %p, want nil", got)
	}
}

// change calls every method that changes a draft, and returns what they return.
func change(d *auditdraft.Draft) []bool {
	return []bool{
		d.Edit(func(e *attestlog.Event) { e.Message = "edited" }),
		d.AddTargets(attestlog.Target{ID: "1"}, attestlog.Target{ID: "2"}),
		d.AddTargets(attestlog.Target{ID: "3"}),
		d.AddChanges(attestlog.Change{Path: "/a"}),
		d.Veto(),
	}
}

func TestADraftChangesUntilItEnds(t *testing.T) {
	want := attestlog.Event{
		Message: "edited",
		Targets: []attestlog.Target{{ID: "1"}, {ID: "2"}, {ID: "3"}},
		Changes: []attestlog.Change{{Path: "/a"}},
	}
	draft := new(auditdraft.Draft)
	if diff := cmp.Diff([]bool{true, true, true, true, true}, change(draft)); diff != "" {
		t.Errorf("before the end (-want +got):\n%s", diff)
	}
	e, ok := draft.End()
	if diff := cmp.Diff(want, e); ok || diff != "" {
		t.Errorf("End of a vetoed draft: ok %t (-want +got):\n%s", ok, diff)
	}

	draft = new(auditdraft.Draft)
	e, ok = draft.End()
	if diff := cmp.Diff(attestlog.Event{}, e); !ok || diff != "" {
		t.Errorf("End: ok %t (-want +got):\n%s", ok, diff)
	}
	for name, d := range map[string]*auditdraft.Draft{"after its end": draft, "nil": nil} {
		if diff := cmp.Diff([]bool{false, false, false, false, false}, change(d)); diff != "" {
			t.Errorf("a draft that is %s (-want +got):\n%s", name, diff)
		}
	}
}

// A handler's goroutines may go on after it has returned.
func TestADraftIsSafeForConcurrentUse(t *testing.T) {
	draft := new(auditdraft.Draft)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() { draft.AddTargets(attestlog.Target{ID: fmt.Sprint(n)}) })
	}

	e, ok := draft.End()
	targets := len(e.Targets)
	wg.Wait()
	if again, _ := draft.End(); !ok || len(again.Targets) != targets {
		t.Errorf("%d targets at the end, %d after it", targets, len(again.Targets))
	}
}
