package attestlog_test

import (
	"testing"
	"time"

	"github.com/attestlog/attestlog"
)

// TestQueryTextIsReadBackAsTheSameQuery tries the ends of what constructors
// take; the random trees are in internal/storetest.
func TestQueryTextIsReadBackAsTheSameQuery(t *testing.T) {
	everything := attestlog.Query{}
	alice := attestlog.Field("actor", "alice")
	for name, q := range map[string]attestlog.Query{
		"everything":                   everything,
		"nothing":                      attestlog.Or(),
		"not everything":               attestlog.Not(everything),
		"not nothing":                  attestlog.Not(attestlog.Or()),
		"everything or alice":          attestlog.Or(everything, alice),
		"nothing and alice":            attestlog.And(attestlog.Or(), alice),
		"no index":                     attestlog.Indexes(5, 5),
		"all indexes":                  attestlog.Indexes(0, 1<<63),
		"last index":                   attestlog.Indexes(1<<62-2, 1<<62-1),
		"open time":                    attestlog.Between(time.Time{}, time.Time{}),
		"time before the first":        attestlog.Between(time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}),
		"first time":                   attestlog.Between(time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}),
		"last time":                    attestlog.Between(time.Time{}, time.Date(2261, 12, 31, 23, 59, 59, 999_999_999, time.UTC)),
		"last second":                  attestlog.Between(time.Time{}, time.Date(2261, 12, 31, 23, 59, 59, 0, time.UTC)),
		"time behind the last":         attestlog.Between(time.Time{}, time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)),
		"a network as an exact value":  attestlog.Field("ip", "10.0.0.0/8"),
		"a star as an exact value":     attestlog.Field("action", "mail.*"),
		"a prefix with a star":         attestlog.Prefix("action", "mail*"),
		"the empty prefix":             attestlog.Prefix("action", ""),
		"a prefix of ip with a slash":  attestlog.Prefix("ip", "10.0.0.0/"),
		"quotes":                       attestlog.Field("actor", `a"b\`),
		"a line feed":                  attestlog.Field("actor", "a\nb"),
		"an attribute with a space":    attestlog.Field("attributes.a b", "x"),
		"an attribute with a colon":    attestlog.Field("attributes.a:b", "x"),
		"an attribute with quotes":     attestlog.Field(`attributes."a"`, "x"),
		"an attribute with a bracket":  attestlog.Field("attributes.a(b)", "x"),
		"an attribute by its ordering": attestlog.Field("attributes.order", "time"),
		"a keyword":                    attestlog.Text("OR"),
		"order":                        attestlog.Or(alice, attestlog.Text("x")).OrderBy(attestlog.ByTime),
	} {
		if q.Err() != nil {
			t.Errorf("%s: %v", name, q.Err())
			continue
		}
		got, err := attestlog.ParseQuery(q.String())
		if err != nil {
			t.Errorf("%s: ParseQuery(%q) = %v", name, q, err)
		} else if !got.Equal(q) {
			t.Errorf("%s: ParseQuery(%q) is another query, %q", name, q, got)
		}
	}
}
