package inverted

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// oneRow is an index of one segment with one row of terms.
type oneRow struct {
	seg Segment
	row Row
}

func (r oneRow) Segments(context.Context) ([]Segment, error) { return []Segment{r.seg}, nil }

func (r oneRow) Spans(context.Context, int64) ([]byte, error) { return nil, ErrGone }

func (r oneRow) RowsBefore(_ context.Context, _ int64, kind Kind, _ Pair, _ int) ([]Row, error) {
	if kind == Terms {
		return []Row{r.row}, nil
	}
	return nil, nil
}

func (r oneRow) RowsAfter(_ context.Context, _ int64, kind Kind, p *Pair, _ int, fn func(Row) error) error {
	if kind == Terms && p == nil {
		return fn(r.row)
	}
	return nil
}

// What no index has is an error in a check, and in a search that meets it: otherwise
// the two could see different things in it.
func TestDamagedRowsAreErrors(t *testing.T) {
	key, err := ParseKey(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	token, _ := key.token(nil, "a", []byte("x"))
	seg := Segment{ID: 1, Lo: 1000, Hi: 2000}
	for _, test := range []struct {
		name string
		data []uint64
		bad  bool
		pass bool // a search has what it wants before it
	}{
		{"sound", []uint64{0, 3, 5, 1, 10}, false, true},
		{"a pair of an entry behind the segment", []uint64{0, 1, 1000}, true, false},
		{"a pair of an entry before the segment", []uint64{0, 1, ^uint64(0) - 900}, true, false},
		{"a later pair behind the segment", []uint64{0, 2, 5, 995}, true, false},
		{"pairs that go back", []uint64{0, 2, 5, ^uint64(0)}, true, false},
		{"a pair twice", []uint64{0, 2, 5, 0}, true, false},
		{"a group twice", []uint64{0, 1, 5, 0, 1, 6}, true, true},
		{"a first group elsewhere", []uint64{1, 1, 5}, true, false},
		{"groups that go back", []uint64{0, 1, 5, ^uint64(0), 1, 6}, true, true},
		{"no pairs", []uint64{0, 0}, true, false},
		{"fewer pairs than it says", []uint64{0, 9, 5}, true, false},
		{"nothing", nil, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := oneRow{seg: seg, row: Row{First: Pair{token, 1005}}}
			for _, v := range test.data {
				r.row.Data = binary.AppendUvarint(r.row.Data, v)
			}
			c := cursor{r: r, seg: seg, kind: Terms}
			var read error
			for more := true; more && read == nil; {
				more, read = c.next(t.Context())
			}
			ix := New(key, r, nil)
			a := &query.TermTree{Term: query.Term{Field: "a", Value: "x"}}
			tree := &query.TermTree{Op: query.OpAnd, Kids: []*query.TermTree{a, {Op: query.OpNot, Kids: []*query.TermTree{{Term: query.Term{Field: "b", Value: "y"}}}}}}
			_, counted := ix.countSegment(t.Context(), seg, query.Plan{To: 2000, Terms: tree}, 1<<40)
			var corrupt *attestlog.CorruptError
			if test.bad != errors.As(read, &corrupt) || !test.bad && read != nil {
				t.Errorf("reading it: %v, want an error: %t", read, test.bad)
			}
			if test.pass == errors.As(counted, &corrupt) || test.pass && counted != nil {
				t.Errorf("a search: %v, want an error: %t", counted, !test.pass)
			}
		})
	}
}

// A query ends with its context, whatever the index says.
func TestASearchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range []set{
		conjunction{everything{0}, everything{0}},
		complement{0, everything{0}},
	} {
		if _, _, err := s.upTo(ctx, 1<<60); !errors.Is(err, context.Canceled) {
			t.Errorf("%T.upTo = %v, want its context's error", s, err)
		}
	}
}

// A merge takes a bounded number of segments, however many there are.
func TestAMergeIsBounded(t *testing.T) {
	var segs []Segment
	for i := range uint64(2000) {
		segs = append(segs, Segment{ID: int64(i), Lo: i, Hi: i + 1})
	}
	for len(segs) >= mergeMany {
		chosen := mergeable(segs, mergeMany, mergeMost)
		if len(chosen) < mergeMany || len(chosen) > mergeTop {
			t.Fatalf("%d of %d segments are merged", len(chosen), len(segs))
		}
		at := 0
		for segs[at] != chosen[0] {
			at++
		}
		merged := Segment{ID: chosen[0].ID + 1e6, Lo: chosen[0].Lo, Hi: chosen[len(chosen)-1].Hi}
		segs = append(append(segs[:at:at], merged), segs[at+len(chosen):]...)
	}
}
