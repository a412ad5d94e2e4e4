package server

import (
	"context"
	"net/http"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

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

// histogram divides a span of time into equal buckets, and answers with the number
// of entries in each.
func (s *Server) histogram(ctx context.Context, in *histogramInput) (*histogramOutput, error) {
	v, q, err := s.enterQuery(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	// Each bucket has a nanosecond at least. Sub saturates for a longer span than a
	// Duration holds, which is long enough.
	if in.Before.Sub(in.After) < time.Duration(in.Buckets) {
		return nil, problem(http.StatusBadRequest, "before: not after the beginning, or too near for so many buckets")
	}
	err = s.recordLook(ctx, v, "audit.query", "read", map[string]any{"query": in.Q, "histogram": in.Buckets})
	if err != nil {
		return nil, err
	}

	parts, err := in.parts(ctx, v.log)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}

	out := &histogramOutput{}
	out.Body.Before = in.Before.UTC()
	for i, part := range parts {
		n, err := v.log.Count(ctx, query.And(q, part), 0)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		out.Body.Buckets = append(out.Body.Buckets, bucket{in.edge(i), n})
	}
	return out, nil
}

// parts returns a query for each bucket, which selects the entries in it.
func (in *histogramInput) parts(ctx context.Context, log *attestlog.Log) ([]query.Query, error) {
	if in.By == "time" {
		return in.partsByTime(), nil
	}
	return in.partsByLoggedTime(ctx, log)
}

func (in *histogramInput) partsByTime() []query.Query {
	var parts []query.Query
	for i := range in.Buckets {
		parts = append(parts, query.Between(in.edge(i), in.edge(i+1)))
	}
	return parts
}

// partsByLoggedTime uses that the logged time never goes back: each bucket is a
// range of indexes, whose entries are counted without reading them.
func (in *histogramInput) partsByLoggedTime(ctx context.Context, log *attestlog.Log) ([]query.Query, error) {
	size, err := log.Size(ctx)
	if err != nil {
		return nil, err
	}
	from, err := firstLogged(ctx, log, in.edge(0), 0, size)
	if err != nil {
		return nil, err
	}

	var parts []query.Query
	for i := range in.Buckets {
		to, err := firstLogged(ctx, log, in.edge(i+1), from, size)
		if err != nil {
			return nil, err
		}
		parts = append(parts, query.Indexes(from, to))
		from = to
	}
	return parts, nil
}

// firstLogged returns the first index from low on that was logged at t or later,
// or high if there is none below it.
func firstLogged(ctx context.Context, log *attestlog.Log, t time.Time, low, high uint64) (uint64, error) {
	for low < high {
		middle := low + (high-low)/2
		var logged time.Time
		err := log.Scan(ctx, middle, middle+1, func(r *attestlog.RawEntry) error {
			e, err := r.Entry()
			if err == nil {
				err = e.Err
			}
			logged = e.LoggedTime
			return err
		})
		if err != nil {
			return 0, err
		}

		if logged.Before(t) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

// edge returns the beginning of a bucket, and with Buckets the end of the last one.
//
// It divides seconds and nanoseconds apart: a Duration holds half of the years
// that a log can span.
func (in *histogramInput) edge(i int) time.Time {
	seconds := in.Before.Unix() - in.After.Unix()
	nanos := int64(in.Before.Nanosecond() - in.After.Nanosecond())
	if nanos < 0 {
		seconds--
		nanos += 1e9
	}

	n := int64(in.Buckets)
	bucket := int64(i)
	wholeSeconds := seconds * bucket / n
	rest := (seconds*bucket%n*1e9 + nanos*bucket) / n
	return time.Unix(in.After.Unix()+wholeSeconds, int64(in.After.Nanosecond())+rest).UTC()
}
