package diff_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/diff"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testwait"
)

type account struct {
	ID       string
	Email    string `json:"email,omitempty"`
	Password string `audit:"password,redact"`
	Token    []byte `json:"-"`
	Shown    string `json:"-" audit:"shown"`
	Cache    string `audit:"-"`
	Since    time.Time
	Limit    *int
	Tags     []string
	Roles    []role `audit:"roles"`
	Extra    map[string]any
	Settings settings
	base
	private int
}

type base struct{ Version int }

type settings struct {
	Theme  string `json:"theme"`
	Secret secret `audit:",redact"`
}

type secret struct{ Key string }

type role struct {
	Name string `audit:"name,key"`
	Site string
	Pin  string `audit:"pin,redact"`
}

// lines writes changes one a line.
func lines(t *testing.T, changes []attestlog.Change) string {
	t.Helper()
	var out strings.Builder
	for _, c := range changes {
		was, err := json.Marshal(c.Old)
		if err != nil {
			t.Fatal(err)
		}
		is, err := json.Marshal(c.New)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %s %s -> %s\n", c.Op, c.Path, was, is)
	}
	return out.String()
}

func TestChangesOfStructs(t *testing.T) {
	five, six := 5, 6
	old := account{
		ID:       "7",
		Email:    "a@example.com",
		Password: "old",
		Token:    []byte("t1"),
		Shown:    "a",
		Cache:    "c1",
		Since:    time.Unix(0, 0).UTC(),
		Limit:    &five,
		Tags:     []string{"x"},
		Roles:    []role{{"admin", "a", "1"}, {"reader", "b", "2"}},
		Extra:    map[string]any{"a/b~c": 1, "gone": nil, "same": []int{1}},
		Settings: settings{"dark", secret{"k1"}},
		base:     base{1},
		private:  1,
	}
	new := account{
		ID:       "7",
		Email:    "b@example.com",
		Password: "new",
		Token:    []byte("t2"),
		Shown:    "b",
		Cache:    "c2",
		Since:    time.Unix(0, 0).UTC(),
		Limit:    &six,
		Tags:     []string{"x", "y"},
		Roles:    []role{{"reader", "c", "2"}, {"writer", "d", "9"}, {"admin", "a", "8"}},
		Extra:    map[string]any{"a/b~c": 2, "same": []int{1}, "come": "x"},
		Settings: settings{"light", secret{"k2"}},
		base:     base{2},
		private:  2,
	}

	want := `replace /Extra/a~1b~0c 1 -> 2
add /Extra/come null -> "x"
remove /Extra/gone null -> null
replace /Limit 5 -> 6
replace /Settings/Secret "[redacted]" -> "[redacted]"
replace /Settings/theme "dark" -> "light"
replace /Tags ["x"] -> ["x","y"]
replace /Version 1 -> 2
replace /email "a@example.com" -> "b@example.com"
replace /password "[redacted]" -> "[redacted]"
replace /roles/admin/pin "[redacted]" -> "[redacted]"
replace /roles/reader/Site "b" -> "c"
add /roles/writer null -> {"Site":"d","name":"writer","pin":"[redacted]"}
replace /shown "a" -> "b"
`
	if diff := cmp.Diff(want, lines(t, diff.Changes(old, &new))); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if same := diff.Changes(&old, old); len(same) != 0 {
		t.Errorf("a value differs from itself: %s", lines(t, same))
	}

	want = `add  null -> {"Site":"b","name":"a","pin":"[redacted]"}` + "\n"
	if got := lines(t, diff.Changes(nil, role{"a", "b", "1"})); got != want {
		t.Errorf("the changes of a new value are %s, want %s", got, want)
	}
}

func TestChangesShowNothingThatIsRedacted(t *testing.T) {
	type inner struct {
		Pin string `audit:",redact"`
	}
	type outer struct {
		List  []inner
		Map   map[string]inner
		Ptr   *inner
		Any   any
		Whole inner `audit:",redact"`
	}
	was := outer{
		List:  []inner{{"s3cret-1"}},
		Map:   map[string]inner{"a": {"s3cret-2"}},
		Ptr:   &inner{"s3cret-3"},
		Any:   inner{"s3cret-4"},
		Whole: inner{"s3cret-5"},
	}
	is := outer{
		List:  []inner{{"s3cret-6"}, {"s3cret-7"}},
		Map:   map[string]inner{"b": {"s3cret-8"}},
		Any:   "now a text",
		Whole: inner{"s3cret-9"},
	}
	for _, pair := range [][2]any{{was, is}, {is, was}, {nil, was}, {was, nil}} {
		changes := diff.Changes(pair[0], pair[1])
		if text := lines(t, changes); len(changes) == 0 || strings.Contains(text, "s3cret") {
			t.Errorf("changes show what is redacted:\n%s", text)
		}
	}
}

type chain struct {
	Next *chain
	N    int
}

func TestChangesAreBounded(t *testing.T) {
	was, is := map[int]string{}, map[int]string{}
	for n := range 250 {
		was[n] = "a"
		is[n] = "b"
	}
	changes := diff.Changes(was, is)
	if len(changes) != diff.Max+1 {
		t.Fatalf("%d changes, want %d and one that says how many there were", len(changes), diff.Max)
	}
	want := attestlog.Change{Op: "truncated", New: map[string]any{"changes": 250, "kept": diff.Max}}
	if diff := cmp.Diff(want, changes[diff.Max]); diff != "" {
		t.Errorf("the last change (-want +got):\n%s", diff)
	}

	circle := &chain{N: 1}
	circle.Next = circle
	other := &chain{N: 2}
	other.Next = other
	if changes := diff.Changes(circle, other); len(changes) == 0 {
		t.Error("circles do not differ")
	}
}

func TestALongValueIsCut(t *testing.T) {
	long := strings.Repeat("ü", 50_000)
	changes := diff.Changes(map[string]any{"x": long}, map[string]any{"x": long + "y"})
	if len(changes) != 1 {
		t.Fatalf("%d changes, want one", len(changes))
	}

	was, is := fmt.Sprint(changes[0].Old), fmt.Sprint(changes[0].New)
	if len(was) > diff.MaxValue || len(is) > diff.MaxValue {
		t.Errorf("%d and %d bytes are shown, want %d at most", len(was), len(is), diff.MaxValue)
	}
	if was == is || !strings.Contains(is, "100003 bytes") {
		t.Errorf("a long value became\n%s\nand was\n%s", is, was)
	}
}

// appendChanges appends an event with changes, which a log must accept.
func appendChanges(t *testing.T, changes []attestlog.Change) {
	t.Helper()
	l := sqlitetest.Log(t, attestlog.Config{})
	_, err := l.Append(t.Context(), attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "x"}, Changes: changes})
	if err != nil {
		t.Errorf("Append of %d changes = %v", len(changes), err)
	}
}

func TestChangesOfAnyTypesMakeAnEvent(t *testing.T) {
	was := map[string]any{
		"nan": math.NaN(), "chan": make(chan int), "inf": math.Inf(1), "n": 1, "t": time.Second,
		"b": []byte{1}, "nil": nil, "e": json.RawMessage(`{"a":1}`),
	}
	is := map[string]any{
		"nan": 1, "chan": 2, "inf": 3, "n": nil, "t": time.Minute,
		"b": []byte{2}, "nil": 4, "e": json.RawMessage(`{"a":2}`),
	}

	changes := diff.Changes(was, is)
	if len(changes) != len(was) {
		t.Errorf("%d changes, want %d:\n%s", len(changes), len(was), lines(t, changes))
	}
	appendChanges(t, changes)
}

func TestManyChangesMakeAnEvent(t *testing.T) {
	many := map[string]any{
		"id": int64(1) << 60, "ids": []uint64{1 << 63}, "bad\xff": "x\xff", strings.Repeat("k", 70_000): 1,
	}
	for n := range 90 {
		many[fmt.Sprint("field", n)] = strings.Repeat("v\"", 900)
	}

	changes := diff.Changes(nil, map[string]any{"all": many})
	changes = append(changes, diff.Changes(map[string]any{}, many)...)
	if last := changes[len(changes)-1]; last.Op != "truncated" {
		t.Errorf("the last change is %+v", last)
	}
	appendChanges(t, changes)
}

type creds struct{ Password string }

// guarded refuses to be written, as types that hold a secret do.
type guarded struct{ secret string }

func (guarded) MarshalJSON() ([]byte, error) { return nil, fmt.Errorf("a secret") }

// aliased has the usual method of a type that adds something to its JSON.
type aliased struct {
	Name string
	Pin  string `audit:",redact"`
}

func (a aliased) MarshalJSON() ([]byte, error) {
	type plain aliased
	return json.Marshal(plain(a))
}

func TestChangesRedactAlsoWhatHides(t *testing.T) {
	type redactedKey struct {
		ID string `audit:",key,redact"`
	}
	type withEmbedded struct {
		creds `audit:",redact"`
		Creds creds `audit:"c,redact"`
	}
	type Outer struct {
		*withEmbedded
		Name string
	}

	deep := any(aliased{"deep", "s3cret"})
	for range 40 {
		deep = map[string]any{"in": deep}
	}

	for name, v := range map[string]any{
		"embedded":       Outer{&withEmbedded{creds{"s3cret"}, creds{"s3cret"}}, "x"},
		"a marshaler":    aliased{"x", "s3cret"},
		"one that fails": map[string]any{"g": guarded{"s3cret"}},
		"a key":          []redactedKey{{"s3cret"}},
		"deep":           deep,
		"a map of them":  map[string]any{"a": []any{aliased{"x", "s3cret"}, &aliased{"y", "s3cret"}}},
	} {
		member := map[string]any{"v": v}
		for _, pair := range [][2]any{{nil, v}, {v, nil}, {map[string]any{}, member}, {member, map[string]any{"v": 1}}} {
			got := lines(t, diff.Changes(pair[0], pair[1]))
			if got == "" || strings.Contains(got, "s3cret") {
				t.Errorf("%s: changes show what is redacted: %s", name, got)
			}
		}
	}

	got := lines(t, diff.Changes(map[string]any{"Name": "a", "Pin": "s3cret"}, aliased{"b", "other"}))
	if strings.Contains(got, "s3cret") || !strings.Contains(got, `"a" -> "b"`) {
		t.Errorf("a struct against a map: %s", got)
	}
}

// badKey has a method that panics for a nil.
type badKey struct{ n int }

func (b *badKey) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d", b.n), nil }

type cat struct {
	Name   string
	Parent *cat
	Kids   []*cat
}

func TestChangesBearAnyValue(t *testing.T) {
	m := map[string]any{}
	m["self"] = m

	s := []any{nil}
	s[0] = s

	var x any
	x = &x

	family := &cat{Name: "root"}
	for n := range 30 {
		family.Kids = append(family.Kids, &cat{Name: fmt.Sprint(n), Parent: family, Kids: []*cat{family}})
	}

	type M map[string]M
	typed := M{}
	typed["self"] = typed

	for _, v := range []any{
		m, s, x, []any{x}, family, typed,
		map[*badKey]int{nil: 1, {2}: 3}, map[[2]string]int{{"a"}: 1}, map[float64]int{math.NaN(): 1},
		func() {}, struct{ a, B any }{1, m}, map[string]string(nil), [3]int{}, (*cat)(nil),
	} {
		before := testwait.CPUTime()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			diff.Changes(nil, v)
			diff.Changes(v, map[string]any{"other": 1})
		}()
		testwait.Receive(t, fmt.Sprintf("the changes of a %T", v), ended)
		if took := testwait.CPUTime() - before; took > 2*time.Second {
			t.Errorf("changes of a %T took %v of processors", v, took)
		}
	}
}

func TestChangesOfAFieldThatHidesAnother(t *testing.T) {
	type Base struct{ Name, Other string }
	type outer struct {
		Base
		Name string
	}

	got := lines(t, diff.Changes(outer{Base{"b1", "o1"}, "outer1"}, outer{Base{"b2", "o2"}, "outer2"}))
	want := "replace /Name \"outer1\" -> \"outer2\"\nreplace /Other \"o1\" -> \"o2\"\n"
	if got != want {
		t.Errorf("changes are %s, want %s", got, want)
	}
}
