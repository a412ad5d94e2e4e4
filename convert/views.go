package convert

import "github.com/attestlog/attestlog"

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
