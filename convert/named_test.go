package convert

import (
	"slices"
	"testing"

	"github.com/attestlog/attestlog/internal/field"
)

func TestFieldsWithoutForeignNamesHaveTheirOwn(t *testing.T) {
	for id, want := range map[field.ID][]string{
		field.Tenant:          {"tenant"},
		field.ActorOnBehalfOf: {"actor.on_behalf_of", "on_behalf_of"},
		field.SourceHost:      {"source.host", "host"},
		field.TargetName:      {"targets.name", "target.name", "name"},
	} {
		got := ownNames(id.Field())
		if !slices.Equal(got, want) {
			t.Errorf("ownNames(%s) = %q, want %q", id.Field().Path(), got, want)
		}
	}
}

func TestEachFieldIsLookedForOnce(t *testing.T) {
	seen := map[field.ID]int{}
	for _, f := range namedFields {
		seen[f.ID]++
	}
	for i := range field.All() {
		f := &field.All()[i]
		want := 1
		if f.Object == field.Change || f.Kind == field.Bytes {
			want = 0
		}
		if seen[f.ID] != want {
			t.Errorf("%s is looked for %d times, want %d", f.Path(), seen[f.ID], want)
		}
	}
}
