package interop

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/ecs"
)

func checkECS(_ *attestlog.Entry, text []byte) error {
	document, err := object(text)
	if err != nil {
		return err
	}
	f := &findings{}
	if document["ecs.version"] != ecsVersion || ecs.Version != ecsVersion {
		f.add("ecs.version is %v, want %s", document["ecs.version"], ecsVersion)
	}
	for _, name := range ecsRequired {
		if document[name] == nil {
			f.add("%s is required", name)
		}
	}
	for name, v := range document {
		for other := range document {
			if strings.HasPrefix(other, name+".") {
				f.add("%s is a field and the object of %s", name, other)
			}
		}
		if !strings.HasPrefix(name, "attestlog.") {
			checkECSField(f, name, v)
		}
	}
	checkECSCategories(f, document)
	return f.err()
}

func checkECSField(f *findings, name string, v any) {
	kind, ok := ecsFields[name]
	if !ok {
		f.add("%s is not in the contract", name)
		return
	}
	kind, array := strings.CutSuffix(kind, "[]")
	list, isArray := v.([]any)
	if array != isArray {
		f.add("%s: an array %v, want %v", name, isArray, array)
	}
	if !isArray {
		list = []any{v}
	}
	for _, v := range list {
		if !ecsFits(kind, v) {
			f.add("%s is %#v, want %s", name, v, kind)
		}
	}
}

func ecsFits(kind string, v any) bool {
	s, isText := v.(string)
	switch kind {
	case "keyword", "wildcard", "match_only_text":
		return isText && s != ""
	case "date":
		_, err := time.Parse("2006-01-02T15:04:05.000Z", s) // strict_date_optional_time
		return err == nil
	case "ip":
		a, err := netip.ParseAddr(s)
		return err == nil && a.Zone() == "" // Elasticsearch refuses zones
	case "long":
		n, _ := v.(json.Number)
		_, err := n.Int64()
		return err == nil
	}
	return false
}

// checkECSCategories demands the allowed values, and of a category the types that
// are expected with it.
func checkECSCategories(f *findings, document map[string]any) {
	among := func(name string, values []string) {
		if v, ok := document[name]; ok && !slices.Contains(values, textOf(v)) {
			f.add("%s is %v, want one of %v", name, v, values)
		}
	}
	among("event.kind", ecsKinds)
	among("event.outcome", ecsOutcomes)
	categories, _ := document["event.category"].([]any)
	types, _ := document["event.type"].([]any)
	if len(categories) == 0 || len(types) == 0 {
		f.add("event.category is %v, event.type %v", categories, types)
	}
	for _, category := range categories {
		for _, kind := range types {
			if !slices.Contains(ecsCategories[textOf(category)], textOf(kind)) {
				f.add("event.category %v does not expect event.type %v", category, kind)
			}
		}
	}
}

func textOf(v any) string {
	s, _ := v.(string)
	return s
}
