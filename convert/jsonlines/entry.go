package jsonlines

import (
	"fmt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

// Imported is the name of the attribute that holds what the old log added to an
// event.
const Imported = "imported"

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

	imported := map[string]any{
		"index":       float64(was.Index),
		"logged_time": was.LoggedTime.UTC().Format(micro),
	}
	if len(was.Erased) > 0 {
		var erased []any
		for _, pointer := range was.Erased {
			erased = append(erased, pointer)
		}
		imported["erased"] = erased
	}
	if before, taken := e.Attributes[Imported]; taken {
		imported[Imported] = before // by the log that wrote this line
	}
	if e.Attributes == nil {
		e.Attributes = map[string]any{}
	}
	e.Attributes[Imported] = imported
	fit.Event(&e)
	return e, true, nil
}
