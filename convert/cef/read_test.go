package cef_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cef"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
)

func TestReadOfOddLines(t *testing.T) {
	header := func(more ...any) map[string]any {
		m := map[string]any{"version": "0", "vendor": "v", "device_version": "1", "severity": "5"}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		name, in   string
		source     attestlog.Source
		attributes map[string]any
	}{
		{"a text before the first key", `CEF:0|v|p|1|c|c|5|odd \= text k=v`, attestlog.Source{}, map[string]any{"k": "v", "cef": header("text", "odd = text")}},
		{"only a text", `CEF:0|v|p|1|c|c|5|no key`, attestlog.Source{}, map[string]any{"cef": header("text", "no key")}},
		{"no last pipe", `CEF:0|v|p|1|c|c|5`, attestlog.Source{}, map[string]any{"cef": header()}},
		{"no last pipe before keys", `CEF:0|v|p|1|c|c|5 k=a|b l=2`, attestlog.Source{}, map[string]any{"k": "a|b", "l": "2", "cef": header()}},
		{"a key named cef", `CEF:0|v|p|1|c|c|5|cef=x k=v k=w`, attestlog.Source{}, map[string]any{
			"cef": "x", "cef_": header(), "k": []any{"v", "w"}, fit.NotesName: map[string]any{"/attributes/k": map[string]any{"as": "repeated"}},
		}},
		{"src is a name", `CEF:0|v|p|1|c|c|5|src=laptop c6a2=::1`, attestlog.Source{IP: "::1", Host: "laptop"}, map[string]any{"cef": header()}},
		{"src is a name beside shost", `CEF:0|v|p|1|c|c|5|src=laptop shost=h`, attestlog.Source{Host: "h"}, map[string]any{"src": "laptop", "cef": header()}},
	} {
		for e, err := range cef.Read(strings.NewReader(tt.in+" start=1772359200123"), "f") {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			notes, _ := e.Attributes[fit.NotesName].(map[string]any)
			if delete(notes, "/actor/id"); len(notes) == 0 {
				delete(e.Attributes, fit.NotesName)
			}
			if diff := cmp.Diff(tt.attributes, e.Attributes); diff != "" || e.Source != tt.source {
				t.Errorf("%s: source %v, attributes (-want +got):\n%s", tt.name, e.Source, diff)
			}
		}
	}
}

func TestTimesThatSayTooLittleAreNotRead(t *testing.T) {
	for text, want := range map[string]string{
		"Mar 01 2026 10:00:00": "2026-03-01 10:00:00", "Mar 01 2026 10:00:00.5 UTC": "2026-03-01 10:00:00.5", "Mar 01 2026 10:00:00.500 GMT": "2026-03-01 10:00:00.5",
		"Mar 01 2026 10:00:00 CET": "", "Mar 01 10:00:00": "",
	} {
		for e, err := range cef.Read(strings.NewReader("CEF:0|v|p|1|c|c|5|start="+text), "f") {
			got := e.Time.Format("2006-01-02 15:04:05.999")
			if want == "" {
				want = "1970-01-01 00:00:00"
			}
			if err != nil || got != want || e.Attributes["start"] != text {
				t.Errorf("start=%s: %s, %v, want %s; attributes %v", text, got, err, want, e.Attributes)
			}
		}
	}
}

func TestALineHasAtMostMaxValuesKeys(t *testing.T) {
	in := "CEF:0|v|p|1|c|c|5|" + strings.Repeat("k=v ", loosejson.MaxValues)
	var got []string
	for _, err := range cef.Read(strings.NewReader(in+"\n"+in+"k=v"), "f") {
		got = append(got, fmt.Sprint(err))
	}
	if len(got) != 2 || got[0] != "<nil>" || !strings.HasSuffix(got[1], loosejson.ErrTooMany.Error()) {
		t.Errorf("Read = %q", got)
	}
}
