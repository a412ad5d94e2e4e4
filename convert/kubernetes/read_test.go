package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog/convert/kubernetes"
)

// read returns the request's id, or the end of why there is none.
func read(in, source string) (out, ids []string) {
	for e, err := range kubernetes.Read(strings.NewReader(in), source) {
		if err != nil {
			_, text, _ := strings.Cut(err.Error(), "): ")
			out = append(out, text)
			continue
		}
		out, ids = append(out, e.Request.ID), append(ids, e.ID)
	}
	return out, ids
}

func TestItemsOfAListAreReadOneByOne(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"a tab in a string", "{\"kind\":\"EventList\",\"items\":[{\"auditID\":\"a\",\"x\":\"\t\"},{\"auditID\":\"b\"}]}", []string{"a", "b"}},
		{"bad items", `{"items":[{"auditID":"a"},{"auditID":"\q"},7,{"x":1},{"auditID":"b"}],"kind":"EventList"}`, []string{
			"a", `items[1]: not JSON: unexpected 'q' at byte 13`, "items[2]: not a JSON object", "items[3]: not a Kubernetes audit event: no auditID, verb or stage", "b",
		}},
		{"two lists", `{"items":[{"auditID":"a"}],"kind":"EventList","items":[{"auditID":"b"},{}]}`, []string{"a", "b", "items[2]: not a Kubernetes audit event: no auditID, verb or stage"}},
		{"no list", `{"kind":"EventList","items":null}`, nil},
		{"another list", `{"kind":"EventList","items":{}}`, []string{"items[0]: not a JSON array"}},
		{"another kind", `{"kind":"PodList","items":[]}`, []string{`not a Kubernetes audit event, but a "PodList"`}},
		{"names that come again", `{"kind":"Event","auditID":"a","items":1,"items":2}`, []string{"a"}},
	} {
		got, _ := read(tt.in, "f")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestIDsLeaveTheSourceOutWhereThereIsAnAuditID(t *testing.T) {
	for in, same := range map[string]bool{`{"auditID":"a","verb":"get"}`: true, `{"verb":"get"}`: false} {
		_, f := read(in, "f")
		_, g := read(in, "g")
		if same != (f[0] == g[0]) {
			t.Errorf("%s: ids %q and %q of two sources", in, f, g)
		}
	}
}
