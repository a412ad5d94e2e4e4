package convert

import (
	"strings"

	"github.com/attestlog/attestlog"
)

// Rest returns the parts of an entry for which the schemas of other programs have
// no fields: its attributes, targets, changes and erased pointers.
func Rest(e *attestlog.Entry) map[string]any {
	o := map[string]any{}
	if len(e.Attributes) > 0 {
		o["attributes"] = e.Attributes
	}
	if len(e.Targets) > 0 {
		o["targets"] = targets(e.Targets)
	}
	if len(e.Changes) > 0 {
		o["changes"] = changes(e.Changes)
	}
	if len(e.Erased) > 0 {
		o["erased"] = e.Erased
	}
	return o
}

// SetText sets a member to a text that is not empty.
func SetText(to map[string]any, name, value string) {
	if value != "" {
		to[name] = value
	}
}

// IsTraceID reports whether s is a trace-id of W3C Trace Context, Section 3.2.2.
func IsTraceID(s string) bool { return isHex(s, 32) }

// IsSpanID reports whether s is a parent-id of W3C Trace Context, Section 3.2.2.
func IsSpanID(s string) bool { return isHex(s, 16) }

// isHex reports whether s has n lower-case hexadecimal digits, not all of them
// zeros.
func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}

func targets(all []attestlog.Target) []map[string]any {
	var out []map[string]any
	for _, t := range all {
		o := map[string]any{}
		SetText(o, "id", t.ID)
		SetText(o, "type", t.Type)
		SetText(o, "name", t.Name)
		out = append(out, o)
	}
	return out
}

func changes(all []attestlog.Change) []map[string]any {
	var out []map[string]any
	for _, c := range all {
		o := map[string]any{}
		SetText(o, "path", c.Path)
		SetText(o, "op", c.Op)
		if c.Old != nil {
			o["old"] = c.Old
		}
		if c.New != nil {
			o["new"] = c.New
		}
		out = append(out, o)
	}
	return out
}
