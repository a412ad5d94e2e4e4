package interop

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// readAll returns what a reader makes of a text that another's program wrote,
// with what Bound did undone.
func readAll(read convert.Reader, text []byte) (out []attestlog.Event, err error) {
	for e, err := range read(bytes.NewReader(text), "f") {
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, text)
		}
		out = append(out, fit.Restore(e))
	}
	return out, nil
}

// plain turns what libraries and readers call values into nil, bool, string,
// []any and map[string]any, with numbers as their shortest digits.
func plain(v any) any {
	switch v := v.(type) {
	case nil, bool, string:
		return v
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			f, _ := v.Float64()
			return plain(f)
		}
		return "number " + v.String()
	case int64:
		return "number " + strconv.FormatInt(v, 10)
	case float64:
		switch {
		case math.IsNaN(v): // these three are texts in JSON Protobuf Encoding
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		case math.Abs(v) < 1e21:
			return "number " + strconv.FormatFloat(v, 'f', -1, 64)
		}
		return "number " + strconv.FormatFloat(v, 'e', -1, 64)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := maps.Clone(v)
		for name := range out {
			out[name] = plain(out[name])
		}
		return out
	}
	panic(fmt.Sprintf("a value of %T", v))
}

// plainJSON is plain of a text's value.
func plainJSON(t testing.TB, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return plain(v)
}

// without removes members under paths with slashes, and the objects that this
// leaves empty.
func without(o map[string]any, paths ...string) map[string]any {
	for _, path := range paths {
		name, rest, deeper := strings.Cut(path, "/")
		inner, ok := o[name].(map[string]any)
		switch {
		case !deeper:
			delete(o, name)
		case ok && len(without(inner, rest)) == 0:
			delete(o, name)
		}
	}
	return o
}
