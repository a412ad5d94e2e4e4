package interop

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/ocsf"
)

func checkOCSF(_ *attestlog.Entry, text []byte) error {
	event, err := object(text)
	if err != nil {
		return err
	}
	f := &findings{}
	uid := fmt.Sprint(event["class_uid"])
	class, ok := ocsfClasses[uid]
	if !ok {
		return fmt.Errorf("class_uid %s is not in the contract", uid)
	}
	metadata, _ := event["metadata"].(map[string]any)
	if metadata["version"] != ocsfVersion || ocsf.Version != ocsfVersion {
		f.add("metadata.version is %v, the schema's is %s", metadata["version"], ocsfVersion)
	}
	number := func(name string) int64 {
		n, _ := event[name].(json.Number)
		i, _ := n.Int64()
		return i
	}
	if want := number("class_uid")*100 + number("activity_id"); number("type_uid") != want {
		f.add("type_uid is %d, want %d", number("type_uid"), want)
	}
	checkOCSFObject(f, "", uid, class, event)
	return f.err()
}

// checkOCSFObject checks o, which is of a kind that has a name, and where it is.
func checkOCSFObject(f *findings, at, name string, kind ocsfObject, o map[string]any) {
	for attribute, v := range o {
		at := at + attribute
		of, ok := kind.attributes[attribute]
		if !ok {
			f.add("%s is not in the contract of %s", at, name)
			continue
		}
		if of, ok := strings.CutPrefix(of, "[]"); ok {
			list, ok := v.([]any)
			if !ok || len(list) == 0 {
				f.add("%s is %v, want an array", at, v)
			}
			for i, v := range list {
				checkOCSFValue(f, fmt.Sprintf("%s[%d]", at, i), of, v)
			}
			continue
		}
		checkOCSFValue(f, at, of, v)
		if enum, ok := ocsfEnums[name+"."+attribute]; ok {
			checkOCSFEnum(f, at, enum, v, o)
		}
	}
	for _, attribute := range kind.required {
		if _, ok := o[attribute]; !ok {
			f.add("%s%s is required", at, attribute)
		}
	}
	found := len(kind.atLeastOne) == 0
	for _, attribute := range kind.atLeastOne {
		_, ok := o[attribute]
		found = found || ok
	}
	if !found {
		f.add("%s has none of %v", at, kind.atLeastOne)
	}
}

// checkOCSFEnum demands a known value, and of its sibling that it says the same
// in words.
func checkOCSFEnum(f *findings, at string, enum ocsfEnum, v any, o map[string]any) {
	caption, ok := enum.values[fmt.Sprint(v)]
	if !ok {
		f.add("%s is %v, which is not in its enum", at, v)
	}
	words, present := o[enum.sibling]
	switch {
	case enum.sibling == "":
	case caption == "Other" && !present:
		f.add("%s is Other, and %s does not say what", at, enum.sibling)
	case caption != "Other" && present && words != caption:
		f.add("%s is %v, which is %q, and %s is %q", at, v, caption, enum.sibling, words)
	}
}

func checkOCSFValue(f *findings, at, of string, v any) {
	text, isText := v.(string)
	number, isNumber := v.(json.Number)
	members, isObject := v.(map[string]any)
	switch of {
	case "string", "hostname", "username":
		if !isText || text == "" {
			f.add("%s is %v, want a text", at, v)
		}
	case "ip":
		// ip_t has at most 40 characters; its pattern allows zones.
		if _, err := netip.ParseAddr(text); err != nil || len(text) > 40 {
			f.add("%s is %v, want an IP address of up to 40 characters", at, v)
		}
	case "integer", "long", "timestamp":
		if _, err := number.Int64(); !isNumber || err != nil {
			f.add("%s is %v, want an integer", at, v)
		}
	case "object": // of any members
		if !isObject {
			f.add("%s is %T, want an object", at, v)
		}
	default:
		kind, ok := ocsfObjects[of]
		if !ok || !isObject {
			f.add("%s is %T, want an object %s, in the contract: %v", at, v, of, ok)
			return
		}
		checkOCSFObject(f, at+".", of, kind, members)
	}
}
