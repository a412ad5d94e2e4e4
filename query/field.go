package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/jsonpointer"
)

// A named is what a query says of a field's name.
type named struct {
	name      string // in the query language, not an alias
	prefixes  string // field of its dotted prefixes' terms, or ""
	wordsOnly bool   // it has no term for the whole value
	sealed    string // pointer under which it may be sealed, or ""
}

// attributePrefix starts the names of attributes, which no table lists.
const attributePrefix = "attributes."

// lookup finds a field by its name in the query language, or by an alias.
func lookup(name string) (named, error) {
	id, ok := field.ByQuery(name)
	if ok {
		f := id.Field()
		return named{f.Query, f.Prefixes(), f.WordsOnly, f.SealedPointer()}, nil
	}

	if name == field.TargetReference {
		return named{name: name}, nil
	}

	path, ok := strings.CutPrefix(name, attributePrefix)
	if ok && path != "" {
		top, _, _ := strings.Cut(path, ".")
		return named{name: name, sealed: "/attributes/" + jsonpointer.Escape(top)}, nil
	}
	return named{}, fmt.Errorf("unknown field %q", name)
}

// CheckField returns an error if name is not one of the query language's
// fields, an alias of one, or "attributes." and a path; otherwise it returns
// the field's own name.
func CheckField(name string) (string, error) {
	f, err := lookup(name)
	return f.name, err
}

// FieldNames returns the names that the query language knows, sorted, without
// aliases and attributes.
func FieldNames() []string {
	names := append([]string{"after", "before", "index", "order", "time"}, field.QueryNames()...)
	slices.Sort(names)
	return names
}
