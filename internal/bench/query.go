package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// queries measures pages of 50 while nothing else runs.
func (b *bench) queries(l *attestlog.Log, n int) error {
	floor, err := b.floorPage(n)
	if err != nil {
		return err
	}

	// One hundredth of the log: in the middle by time, and its oldest entries.
	first, err := l.Entry(b.ctx, uint64(n/3))
	if err != nil {
		return err
	}
	last, err := l.Entry(b.ctx, uint64(n/3+n/100))
	if err != nil {
		return err
	}
	span := query.Between(first.Time, last.Time)
	oldest := query.Indexes(0, uint64(n/100+1))

	actor := query.Field("actor", "user-000007")
	common := query.Field("operation", "read") // every entry
	for _, c := range []struct {
		name string
		q    query.Query
	}{
		{"query_first", actor},
		{"query_deep", query.And(actor, oldest)},
		{"query_rare", query.Field("actor", "rare-000000")},
		{"query_common", common},
		{"query_common_deep", query.And(common, oldest)},
		{"query_and", query.And(query.Field("tenant", "tenant-0007"), query.Field("action", "role.grant"))},
		{"query_time", span},
		{"query_time_term", query.And(actor, span)},
		{"query_order_time", actor.OrderBy(query.ByTime)},
		{"query_order_common", common.OrderBy(query.ByTime)},
	} {
		times, err := b.timePages(l, c.q)
		if err != nil {
			return err
		}
		b.print(Figure{
			Name:   c.name,
			Value:  median(times),
			Unit:   "ms",
			Floor:  floor,
			Events: n,
			Note:   fmt.Sprintf("slowest of %d: %.2f ms; %s", len(times), slices.Max(times), c.q),
		})
	}
	return nil
}

// timePages returns the milliseconds of the first three pages of a query, which
// it reads several times.
func (b *bench) timePages(l *attestlog.Log, q query.Query) ([]float64, error) {
	var times []float64
	for range 7 {
		cursor := ""
		for range 3 {
			began := time.Now()
			page, err := l.Query(b.ctx, q, attestlog.PageOptions{Cursor: cursor})
			if err != nil {
				return nil, err
			}
			times = append(times, milliseconds(began))

			cursor = page.Next
			if cursor == "" {
				break
			}
		}
	}
	return times, nil
}
