package jsonlines

import (
	"fmt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// micro is how a leaf has its logged_time.
const micro = "2006-01-02T15:04:05.000000Z"

// entry reads a line that is an entry. Another line is not ok.
func entry(line []byte) (e attestlog.Event, ok bool, err error) {
	raw, err := attestlog.ParseLine(line)
	if err != nil {
		return e, false, nil
	}
	if _, err := attestlog.ParseLeaf(raw.Leaf); err != nil {
		return e, true, fmt.Errorf("entry %d: leaf: %v", raw.Index, err)
	}
	was, err := raw.Entry()
	if err != nil {
		return e, true, err
	}
	e = was.Event

	convert.SetImported(&e, map[string]any{
		"index":       float64(was.Index),
		"logged_time": was.LoggedTime.UTC().Format(micro),
	}, was.Erased)
	fit.Event(&e)
	return e, true, nil
}
