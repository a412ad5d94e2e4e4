package otel

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// keyValues reads a list of KeyValue. A key that comes more than once has all
// its values.
func keyValues(v any) (convert.Object, error) {
	list, ok := v.([]any)
	if v != nil && !ok {
		return nil, errors.New("not a list")
	}

	out := convert.Object{}
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, errors.New("not a list of objects")
		}
		key, _ := m["key"].(string)
		v, err := value(m["value"])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		out.Add(key, v)
	}
	return out, nil
}

// value reads an AnyValue, which has at most one member. Bytes stay in base64,
// as they came. So does a value of an unknown kind, and one that is nested too
// deep.
func value(v any) (any, error) {
	switch v.(type) {
	case nil, loosejson.JSONText:
		return v, nil
	}
	m, ok := v.(map[string]any)
	if !ok || len(m) > 1 {
		return nil, errors.New("not an AnyValue")
	}

	for kind, of := range m { // the only one
		switch of.(type) {
		case nil, loosejson.JSONText:
			return of, nil
		case loosejson.Repeated:
			return nil, fmt.Errorf("not an AnyValue: more than one %s", kind)
		}

		switch kind {
		case "stringValue", "boolValue", "doubleValue":
			return of, nil
		case "bytesValue":
			text, ok := of.(string)
			if _, err := base64.StdEncoding.DecodeString(text); err != nil || !ok {
				return nil, errors.New("bytesValue is not base64")
			}
			return text, nil
		case "intValue":
			return integer(of)
		case "arrayValue", "kvlistValue":
			return values(kind, of)
		}
		return v, nil
	}
	return nil, nil
}

func integer(v any) (any, error) {
	text, ok := v.(string)
	if !ok {
		return v, nil
	}
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return nil, errors.New("intValue is not a number")
	}
	return json.Number(text), nil
}

// values reads an ArrayValue or a KeyValueList.
func values(kind string, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", kind)
	}
	if deep, ok := m["values"].(loosejson.JSONText); ok {
		return deep, nil
	}
	list, ok := m["values"].([]any)
	if m["values"] != nil && !ok {
		return nil, fmt.Errorf("%s has no list", kind)
	}

	// If the first is nested too deep, all are.
	if len(list) > 0 {
		if _, deep := list[0].(loosejson.JSONText); deep {
			return list, nil
		}
	}

	if kind == "kvlistValue" {
		out, err := keyValues(m["values"])
		return map[string]any(out), err
	}
	out := make([]any, len(list))
	for i := range list {
		var err error
		out[i], err = value(list[i])
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// keyValuesOf writes members as KeyValues in the order of their names.
func keyValuesOf(members map[string]any) []object {
	out := []object{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		out = append(out, object{"key": name, "value": valueOf(members[name])})
	}
	return out
}

// valueOf writes an AnyValue.
func valueOf(v any) object {
	switch v := v.(type) {
	case nil:
		return object{}
	case string:
		return object{"stringValue": v}
	case bool:
		return object{"boolValue": v}

	// A whole number is an intValue, whose JSON is text: protobuf's int64.
	case float64:
		if n := int64(v); float64(n) == v {
			return object{"intValue": strconv.FormatInt(n, 10)}
		}
		return object{"doubleValue": v}
	case json.Number:
		n, err := v.Int64()
		if err == nil && strconv.FormatInt(n, 10) == v.String() { // -0 is not an int64
			return object{"intValue": v.String()}
		}
		return object{"doubleValue": v}

	case []any:
		values := []object{}
		for _, of := range v {
			values = append(values, valueOf(of))
		}
		return object{"arrayValue": object{"values": values}}
	case map[string]any:
		return object{"kvlistValue": object{"values": keyValuesOf(v)}}
	}
	return object{"stringValue": fmt.Sprint(v)}
}
