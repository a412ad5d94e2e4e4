package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

type facetsInput struct {
	Log   string `path:"log"`
	Q     string `query:"q" doc:"A query."`
	Field string `query:"field" required:"true" doc:"The field whose values are counted: actor, action, outcome, attributes.NAME, …"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many values."`
}

type facet struct {
	Value string `json:"value"`
	Count uint64 `json:"count"`
}

type facetsOutput struct {
	Body struct {
		Field    string  `json:"field"`
		Values   []facet `json:"values" doc:"The most frequent values, most frequent first."`
		Entries  uint64  `json:"entries" doc:"The entries whose values were counted: the newest that the query selects."`
		Complete bool    `json:"complete" doc:"These are all that the query selects."`
	}
}

// maxFaceted bounds the entries whose values are counted; they are read.
const (
	maxFaceted = 50_000
	facetPage  = 5_000
	// maxValues bounds the different values that are kept; what comes later
	// only counts if it is among them.
	maxValues = 100_000
)

func (s *Server) facets(ctx context.Context, in *facetsInput) (*facetsOutput, error) {
	v, q, err := s.asked(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	if _, err := new(attestlog.Entry).Field(in.Field); err != nil {
		return nil, problem(http.StatusBadRequest, "field: "+err.Error())
	}
	if err := s.note(ctx, v, "audit.query", "read", map[string]any{"query": in.Q, "facets": in.Field}); err != nil {
		return nil, err
	}
	out := &facetsOutput{}
	out.Body.Field = in.Field
	counts := map[string]uint64{}
	for opts := (attestlog.PageOptions{Limit: facetPage, Bytes: maxPage}); out.Body.Entries < maxFaceted; {
		page, err := v.log.log.Query(ctx, q, opts)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		for i := range page.Entries {
			values, err := page.Entries[i].Field(in.Field)
			if err != nil {
				return nil, s.failed(ctx, err)
			}
			for _, value := range values {
				if _, known := counts[value]; known || len(counts) < maxValues {
					counts[value]++
				}
			}
		}
		out.Body.Entries += uint64(len(page.Entries))
		if opts.Cursor = page.Next; page.Next == "" {
			out.Body.Complete = true
			break
		}
	}
	out.Body.Values = make([]facet, 0, len(counts))
	for value, n := range counts {
		out.Body.Values = append(out.Body.Values, facet{value, n})
	}
	slices.SortFunc(out.Body.Values, func(a, b facet) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	out.Body.Values = out.Body.Values[:min(in.Limit, len(out.Body.Values))]
	return out, nil
}

type histogramInput struct {
	Log     string    `path:"log"`
	Q       string    `query:"q" doc:"A query."`
	After   time.Time `query:"after" required:"true" doc:"The beginning, inclusive."`
	Before  time.Time `query:"before" required:"true" doc:"The end, exclusive."`
	Buckets int       `query:"buckets" minimum:"1" maximum:"200" default:"60"`
	By      string    `query:"by" enum:"logged_time,time" default:"logged_time" doc:"logged_time is when the log took the entries, which is quick; time is when it happened, and reads every entry that the query selects."`
}

type bucket struct {
	After time.Time `json:"after" doc:"The bucket's beginning, inclusive. It ends where the next begins."`
	Count uint64    `json:"count"`
}

type histogramOutput struct {
	Body struct {
		Buckets []bucket  `json:"buckets"`
		Before  time.Time `json:"before"`
	}
}

func (s *Server) histogram(ctx context.Context, in *histogramInput) (*histogramOutput, error) {
	v, q, err := s.asked(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	if in.Before.Sub(in.After) < time.Duration(in.Buckets) {
		return nil, problem(http.StatusBadRequest, "before: not after the beginning, or too near for so many buckets")
	}
	if err := s.note(ctx, v, "audit.query", "read", map[string]any{"query": in.Q, "histogram": in.Buckets}); err != nil {
		return nil, err
	}
	out := &histogramOutput{}
	out.Body.Before = in.Before.UTC()
	ranges := in.times
	if in.By != "time" {
		ranges = in.indexes
	}
	parts, err := ranges(ctx, v.log.log)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	for i, part := range parts {
		n, err := v.log.log.Count(ctx, query.And(q, part), 0)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		out.Body.Buckets = append(out.Body.Buckets, bucket{in.edge(i), n})
	}
	return out, nil
}

// times are the buckets by the time of the events.
func (in *histogramInput) times(context.Context, *attestlog.Log) ([]query.Query, error) {
	var out []query.Query
	for i := range in.Buckets {
		out = append(out, query.Between(in.edge(i), in.edge(i+1)))
	}
	return out, nil
}

// indexes are the buckets by the time of logging. That never goes back, so each is
// a range of indexes, which the index can count.
func (in *histogramInput) indexes(ctx context.Context, log *attestlog.Log) ([]query.Query, error) {
	size, err := log.Size(ctx)
	if err != nil {
		return nil, err
	}
	var out []query.Query
	from, err := loggedFrom(ctx, log, in.edge(0), 0, size)
	for i := 0; i < in.Buckets && err == nil; i++ {
		var to uint64
		to, err = loggedFrom(ctx, log, in.edge(i+1), from, size)
		out = append(out, query.Indexes(from, to))
		from = to
	}
	return out, err
}

// loggedFrom returns the first index from low on that was logged at t or later, or
// high.
func loggedFrom(ctx context.Context, log *attestlog.Log, t time.Time, low, high uint64) (uint64, error) {
	for low < high {
		middle := low + (high-low)/2
		later := false
		err := log.Scan(ctx, middle, middle+1, func(r *attestlog.RawEntry) error {
			e, err := r.Entry()
			later = !e.LoggedTime.Before(t)
			return err
		})
		if err != nil {
			return 0, err
		}
		if later {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

// edge returns where a bucket begins. A Duration holds half of the years that a
// log can, so seconds are apart from nanoseconds.
func (in *histogramInput) edge(i int) time.Time {
	seconds, nanos := in.Before.Unix()-in.After.Unix(), int64(in.Before.Nanosecond()-in.After.Nanosecond())
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+1e9
	}
	n, at := int64(in.Buckets), int64(i)
	part := (seconds*at%n*1e9 + nanos*at) / n
	return time.Unix(in.After.Unix()+seconds*at/n, int64(in.After.Nanosecond())+part).UTC()
}
