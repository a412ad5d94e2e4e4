package cloudevents

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Structured returns the event that an HTTP request has in binary mode as one
// in the JSON format: context attributes are in ce- headers, whose values are
// percent-encoded (HTTP Protocol Binding, Section 3.1). header has the
// canonical names of net/http. A percent sign that starts no escape is itself.
// A header that comes more than once is refused, and so is one for what is
// elsewhere in binary mode: the data and its type.
func Structured(header map[string][]string, body []byte) ([]byte, error) {
	o, err := attributes(header)
	if err != nil {
		return nil, err
	}
	contentType := ""
	if v := header["Content-Type"]; len(v) > 0 {
		contentType = v[0]
		if !utf8.ValidString(contentType) {
			return nil, errors.New("header Content-Type: not UTF-8")
		}
		o["datacontenttype"] = contentType
	}

	switch {
	case len(body) == 0:
	case !utf8.Valid(body):
		o["data_base64"] = base64.StdEncoding.EncodeToString(body)
	case isJSON(contentType) && json.Valid(body):
		// The data keeps its bytes, which json.Marshal would compact.
		text, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		return slices.Concat(text[:len(text)-1], []byte(`,"data":`), body, []byte("}")), nil
	default:
		o["data"] = string(body)
	}
	return json.Marshal(o)
}

// attributes returns the context attributes of a header.
func attributes(header map[string][]string) (map[string]any, error) {
	o := map[string]any{}

	// In their order, so that of several faults it is always the same one that is
	// reported.
	for _, name := range slices.Sorted(maps.Keys(header)) {
		attribute, ok := strings.CutPrefix(name, "Ce-")
		values := header[name]
		if !ok || len(values) == 0 {
			continue
		}

		attribute = strings.ToLower(attribute)
		text := unescape(values[0])
		switch {
		case len(values) > 1:
			return nil, fmt.Errorf("header %s: more than one", name)
		case attribute == "data" || attribute == "data_base64" || attribute == "datacontenttype":
			return nil, fmt.Errorf("header %s: not in the binary mode", name)
		case !utf8.ValidString(text) || !utf8.ValidString(attribute):
			return nil, fmt.Errorf("header %q: not UTF-8", name)
		}
		o[attribute] = text
	}
	if len(o) == 0 {
		return nil, errors.New("not a CloudEvent: no ce- headers")
	}
	return o, nil
}

// isJSON reports whether a content type is one of JSON (JSON Event Format,
// Section 3.1).
func isJSON(contentType string) bool {
	kind, _, _ := mime.ParseMediaType(contentType)
	return kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}

var percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescape undoes percent-encoding, and the quotes that older senders add.
func unescape(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s[1 : len(s)-1])
	}
	return percent.ReplaceAllStringFunc(s, func(escape string) string {
		text, _ := url.PathUnescape(escape)
		return text
	})
}
