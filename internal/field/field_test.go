package field

import (
	"slices"
	"strings"
	"testing"
)

// reserved are the names that an event's or an entry's JSON has besides fields.
var reserved = []string{"attributes", "erased", "index", "leaf_hash", "logged_time", "sealed", "v"}

// keywords are what the query language and its terms know besides fields.
var keywords = []string{TargetReference, "after", "attributes", "before", "index", "logged_time", "net", "order", "time", "word"}

func TestIDsAreThoseOfTheLines(t *testing.T) {
	for i := range All() {
		f := &All()[i]
		if f.Name == "" {
			t.Fatalf("the field after %s has an ID and no line in the table", All()[max(0, i-1)].Path())
		}
		if f.ID != ID(i) || f.ID.Field() != f {
			t.Errorf("line %d of the table has the ID %d", i, f.ID)
		}
	}
}

func TestNamesAreUniqueInTheirObject(t *testing.T) {
	seen := map[Object][]string{Event: slices.Clone(reserved)}
	for _, part := range Parts() {
		seen[Event] = append(seen[Event], part.Name())
	}
	for _, f := range All() {
		if slices.Contains(seen[f.Object], f.Name) {
			t.Errorf("the name of %s is taken", f.Path())
		}
		seen[f.Object] = append(seen[f.Object], f.Name)

		// The writer and the searches take a name as it is, without escapes.
		if strings.Trim(f.Name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("the name of %s has more than small letters and underscores", f.Path())
		}
	}
}

// Exports and texts for people list fields in the order of the table.
func TestFieldsOfAnObjectFollowEachOther(t *testing.T) {
	for _, part := range Parts() {
		fields := part.Fields()
		for i, f := range fields {
			if f.ID != fields[0].ID+ID(i) {
				t.Errorf("%s is not next to the other fields of its object", f.Path())
			}
		}
	}
}

func TestFindAgreesWithTheTable(t *testing.T) {
	names := []string{"", "x", "i", "id ", "Id", "name\x00", "attributes"}
	for _, f := range All() {
		names = append(names, f.Name, f.Path(), f.Object.Name())
	}
	for _, o := range append(Parts(), Event) {
		for _, name := range names {
			want := slices.IndexFunc(All(), func(f Field) bool { return f.Object == o && f.Name == name })
			id, ok := o.Find([]byte(name))
			if ok != (want >= 0) || ok && id != ID(want) {
				t.Errorf("Find(%q) in %q = %d, %t, want %d", name, o.Name(), id, ok, want)
			}
		}
	}

	for _, name := range names {
		want := slices.IndexFunc(Parts(), func(o Object) bool { return o.Name() == name })
		o, ok := ObjectNamed([]byte(name))
		if ok != (want >= 0) || ok && o != Parts()[want] {
			t.Errorf("ObjectNamed(%q) = %q, %t", name, o.Name(), ok)
		}
	}
}

func TestPointersFindTheirFields(t *testing.T) {
	for _, f := range All() {
		id, ok := ByPointer(f.Pointer())
		if !ok || id != f.ID {
			t.Errorf("ByPointer(%q) = %d, %t, want %d", f.Pointer(), id, ok, f.ID)
		}
		dotted := strings.ReplaceAll(strings.ReplaceAll(f.Pointer()[1:], "/*", ""), "/", ".")
		if dotted != f.Path() {
			t.Errorf("the pointer %s and the path %s differ", f.Pointer(), f.Path())
		}
	}
	for _, pointer := range []string{"", "/", "/actor", "/targets/0/id", "actor/id", "/actor/id/"} {
		if id, ok := ByPointer(pointer); ok {
			t.Errorf("ByPointer(%q) = %s", pointer, id.Field().Path())
		}
	}
}

func TestQueryNamesFindOneField(t *testing.T) {
	owner := map[string]string{}
	for _, keyword := range keywords {
		owner[keyword] = "the query language"
	}
	for _, f := range All() {
		if f.Query == "" {
			if f.Aliases != nil || f.Words || f.Kind == Name || f.Kind == Address {
				t.Errorf("%s has aliases, words or prefixes, and no name to search for it", f.Path())
			}
			continue
		}

		names := append([]string{f.Query}, f.Aliases...)
		if f.Object != Target && !slices.Contains(names, f.Path()) {
			names = append(names, f.Path())
		}
		if f.Kind == Name {
			names = append(names, f.Prefixes())
		}
		for _, name := range names {
			if owner[name] != "" {
				t.Errorf("%q is a name of %s and of %s", name, owner[name], f.Path())
			}
			owner[name] = f.Path()

			id, ok := ByQuery(name)
			if (!ok || id != f.ID) && name != f.Prefixes() {
				t.Errorf("ByQuery(%q) = %d, %t, want %s", name, id, ok, f.Path())
			}
		}
		if !slices.Contains(QueryNames(), f.Query) {
			t.Errorf("QueryNames lacks %q", f.Query)
		}
	}
	if !slices.IsSorted(QueryNames()) {
		t.Errorf("QueryNames() = %q, not sorted", QueryNames())
	}
}

func TestASetHoldsEveryField(t *testing.T) {
	if len(All()) > 64 {
		t.Fatalf("%d fields are more than a Set can hold", len(All()))
	}
	var all Set
	for _, f := range All() {
		var one Set
		one.Add(f.ID)
		for _, g := range All() {
			if one.Has(g.ID) != (f.ID == g.ID) {
				t.Errorf("a set of %s: Has(%s) = %t", f.Path(), g.Path(), one.Has(g.ID))
			}
		}

		if all.Has(f.ID) {
			t.Errorf("%s was in the set before it was added", f.Path())
		}
		all.Add(f.ID)
	}
}

func TestSealableAreInTheOrderOfALeaf(t *testing.T) {
	var want []string
	for _, f := range All() {
		if f.Sealable != (f.SealedPointer() == f.Pointer()) {
			t.Errorf("SealedPointer of %s = %q", f.Path(), f.SealedPointer())
		}
		if f.Sealable {
			want = append(want, f.Pointer())
		}
	}
	slices.Sort(want)

	var got []string
	for _, id := range Sealable() {
		got = append(got, id.Field().Pointer())
	}
	if !slices.Equal(got, want) {
		t.Errorf("Sealable() = %q, want %q", got, want)
	}
}

// The table can say what the code that follows it does not do.
func TestTheTableAsksForNothingElse(t *testing.T) {
	kinds := map[Kind]int{}
	for _, f := range All() {
		kinds[f.Kind]++
		if f.Sealable && (!f.IsText() && f.Kind != Bytes || f.Object.List()) {
			t.Errorf("%s cannot be sealed: only a text of the event itself or of a single object can", f.Path())
		}
		if f.Object.List() && !f.IsText() && f.Kind != Value {
			t.Errorf("%s has the kind %d: fields of lists are texts, or JSON values", f.Path(), f.Kind)
		}
		if f.Object.List() && (f.Max > 0 || f.Values != nil) {
			t.Errorf("%s has a limit, which is not checked in a list", f.Path())
		}
		if f.Max > 0 && !f.IsText() && f.Kind != Bytes || f.Values != nil && !f.IsText() {
			t.Errorf("%s is no text, and has a bound in bytes or a list of values", f.Path())
		}
		if f.WordsOnly && !f.Words {
			t.Errorf("%s has neither words nor a value to search for", f.Path())
		}

		isLimited := f.Max > 0 || f.Values != nil || f.Kind == Number
		if slices.Contains(Limited(), f.ID) != isLimited {
			t.Errorf("Limited has %s: %t", f.Path(), !isLimited)
		}
	}
	if kinds[Instant] != 1 || kinds[Address] != 1 || kinds[Bytes] != 1 {
		t.Errorf("the time, the source's address and the original are the only fields of their kinds, want one of each: %v", kinds)
	}
}
