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

// Structured returns the event that an HTTP request has in binary mode as one in
// the JSON format: context attributes in ce- headers, whose values are
// percent-encoded (HTTP Protocol Binding, Section 3.1). header has the
// canonical names of net/http. A percent sign that begins no escape is itself. A
// header that comes again is refused, and so is one for what stands elsewhere:
// the data, and its type.
func Structured(header map[string][]string, body []byte) ([]byte, error) {
	const prefix = "Ce-"
	o := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		attribute, ok := strings.CutPrefix(name, prefix)
		values := header[name]
		if !ok || len(values) == 0 {
			continue
		}
		attribute = strings.ToLower(attribute)
		switch text := unescape(values[0]); {
		case len(values) > 1:
			return nil, fmt.Errorf("header %s: more than one", name)
		case attribute == "data" || attribute == "data_base64" || attribute == "datacontenttype":
			return nil, fmt.Errorf("header %s: not in the binary mode", name)
		case !utf8.ValidString(text) || !utf8.ValidString(attribute):
			return nil, fmt.Errorf("header %q: not UTF-8", name)
		default:
			o[attribute] = text
		}
	}
	if len(o) == 0 {
		return nil, errors.New("not a CloudEvent: no ce- headers")
	}
	contentType := ""
	if v := header["Content-Type"]; len(v) > 0 {
		if contentType = v[0]; !utf8.ValidString(contentType) {
			return nil, errors.New("header Content-Type: not UTF-8")
		}
		o["datacontenttype"] = contentType
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	isJSON := kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
	switch {
	case len(body) == 0:
	case !utf8.Valid(body):
		o["data_base64"] = base64.StdEncoding.EncodeToString(body)
	case isJSON && json.Valid(body):
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

var percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescape undoes percent-encoding.
func unescape(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' { // quoted, as older senders do
		s = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s[1 : len(s)-1])
	}
	return percent.ReplaceAllStringFunc(s, func(escape string) string {
		text, _ := url.PathUnescape(escape)
		return text
	})
}
