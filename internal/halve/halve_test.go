package halve

import (
	"errors"
	"slices"
	"testing"
)

var errOdd = errors.New("odd")

func TestEachTakesAllThatIsNotToBlame(t *testing.T) {
	var taken, refused []int
	calls := 0
	try := func(items []int) error {
		calls++
		if slices.ContainsFunc(items, func(n int) bool { return n%2 == 1 }) {
			return errOdd
		}
		taken = append(taken, items...)
		return nil
	}
	refuse := func(n int, err error) error {
		refused = append(refused, n)
		return nil
	}

	items := []int{0, 2, 4, 6, 8, 11, 12, 14, 16, 18, 21}
	err := Each(items, try, func(err error) bool { return err == errOdd }, refuse)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 2, 4, 6, 8, 12, 14, 16, 18}; !slices.Equal(taken, want) {
		t.Errorf("taken %v, want %v", taken, want)
	}
	if want := []int{11, 21}; !slices.Equal(refused, want) {
		t.Errorf("refused %v, want %v", refused, want)
	}
	if calls > 2*len(items) {
		t.Errorf("%d calls of try for %d items", calls, len(items))
	}
}

func TestEachEndsWithAnyOtherError(t *testing.T) {
	away := errors.New("away")
	calls := 0
	try := func([]int) error { calls++; return away }

	err := Each([]int{1, 2}, try, func(err error) bool { return err == errOdd }, nil)
	if err != away || calls != 1 {
		t.Errorf("Each = %v after %d calls, want %v after 1", err, calls, away)
	}
}
