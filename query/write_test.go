package query_test

import (
	"testing"
	"time"

	"github.com/attestlog/attestlog/query"
)

// TestQueryTextIsReadBackAsTheSameQuery tries the extremes of what constructors
// take. Package internal/storetest tries random queries.
func TestQueryTextIsReadBackAsTheSameQuery(t *testing.T) {
	everything := query.Query{}
	alice := query.Field("actor", "alice")
	for name, q := range map[string]query.Query{
		"everything":                   everything,
		"nothing":                      query.Or(),
		"not everything":               query.Not(everything),
		"not nothing":                  query.Not(query.Or()),
		"everything or alice":          query.Or(everything, alice),
		"nothing and alice":            query.And(query.Or(), alice),
		"no index":                     query.Indexes(5, 5),
		"all indexes":                  query.Indexes(0, 1<<63),
		"last index":                   query.Indexes(1<<62-2, 1<<62-1),
		"open time":                    query.Between(time.Time{}, time.Time{}),
		"time before the first":        query.Between(time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}),
		"first time":                   query.Between(time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}),
		"last time":                    query.Between(time.Time{}, time.Date(2261, 12, 31, 23, 59, 59, 999_999_999, time.UTC)),
		"last second":                  query.Between(time.Time{}, time.Date(2261, 12, 31, 23, 59, 59, 0, time.UTC)),
		"time after the last":          query.Between(time.Time{}, time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)),
		"a network as an exact value":  query.Field("ip", "10.0.0.0/8"),
		"a star as an exact value":     query.Field("action", "mail.*"),
		"a prefix with a star":         query.Prefix("action", "mail*"),
		"the empty prefix":             query.Prefix("action", ""),
		"a prefix of ip with a slash":  query.Prefix("ip", "10.0.0.0/"),
		"quotes":                       query.Field("actor", `a"b\`),
		"a line feed":                  query.Field("actor", "a\nb"),
		"an attribute with a space":    query.Field("attributes.a b", "x"),
		"an attribute with a colon":    query.Field("attributes.a:b", "x"),
		"an attribute with quotes":     query.Field(`attributes."a"`, "x"),
		"an attribute with a bracket":  query.Field("attributes.a(b)", "x"),
		"an attribute by its ordering": query.Field("attributes.order", "time"),
		"a keyword":                    query.Text("OR"),
		"order":                        query.Or(alice, query.Text("x")).OrderBy(query.ByTime),
	} {
		if q.Err() != nil {
			t.Errorf("%s: %v", name, q.Err())
			continue
		}

		got, err := query.Parse(q.String())
		if err != nil {
			t.Errorf("%s: Parse(%q) = %v", name, q, err)
		} else if !got.Equal(q) {
			t.Errorf("%s: Parse(%q) is another query, %q", name, q, got)
		}
	}
}
