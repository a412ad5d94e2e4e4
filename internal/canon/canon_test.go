package canon

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"
)

// jsonValue generates any JSON value of limited depth.
func jsonValue(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just(any(nil)),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.String(), func(s string) any { return s }),
		rapid.Map(rapid.Float64Range(-MaxNumber+1, MaxNumber-1), func(f float64) any { return f }),
		rapid.Map(rapid.Int64Range(-MaxNumber+1, MaxNumber-1), func(n int64) any { return float64(n) }),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	inner := rapid.Deferred(func() *rapid.Generator[any] { return jsonValue(depth - 1) })
	return rapid.OneOf(append(leaves,
		rapid.Map(rapid.SliceOfN(inner, 0, 4), func(a []any) any { return a }),
		rapid.Map(rapid.MapOfN(rapid.String(), inner, 0, 4), func(m map[string]any) any { return m }))...)
}

func TestValuesAreWrittenAsTheOracleWritesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := jsonValue(3).Draw(t, "value")
		plain, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		// The oracle takes only objects and arrays.
		want, err := jcs.Transform([]byte(`[` + string(plain) + `]`))
		if err != nil {
			t.Fatalf("oracle refuses %s: %v", plain, err)
		}
		got, err := AppendValue(nil, []any{v}, "", 1)
		if err != nil || string(got) != string(want) {
			t.Fatalf("AppendValue(%s) = %s (%v), want %s", plain, got, err, want)
		}
		s := Scanner{Data: got}
		back := s.Value()
		s.End()
		again, err := AppendValue(nil, back, "", 1)
		if s.Err != nil || err != nil || string(again) != string(want) {
			t.Fatalf("read back %s as %s (%v, %v)", want, again, s.Err, err)
		}
	})
}

func TestNumbersOutsideDoublesAreRefused(t *testing.T) {
	for _, v := range []any{
		math.NaN(), math.Inf(1), math.Inf(-1), float64(MaxNumber), -float64(MaxNumber), int64(MaxNumber), int64(math.MinInt64), uint64(math.MaxUint64),
		json.RawMessage("9007199254740992"), json.RawMessage("1e400"), json.RawMessage("-9.1e15"), json.RawMessage(`{"a":1,"a":2}`), json.RawMessage(`"\ud800"`),
		json.RawMessage("01"), json.RawMessage("1."), json.RawMessage("nul"), json.RawMessage(""), make(chan int), "\xff",
	} {
		if got, err := AppendValue(nil, v, "attributes.x", 3); err == nil {
			t.Errorf("AppendValue(%v) = %s, want an error", v, got)
		}
	}
}
