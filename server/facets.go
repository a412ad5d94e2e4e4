package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/attestlog/attestlog"
)

const (
	// maxFacetEntries bounds the entries whose values are counted: each of them is
	// read.
	maxFacetEntries = 50_000
	facetPage       = 5_000 // entries that are read at a time

	// maxFacetValues bounds the different values that are counted. Later values count
	// only if they are among them.
	maxFacetValues = 100_000
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
		Damaged  uint64  `json:"damaged,omitempty" doc:"Entries among them that are damaged, whose values nobody knows."`
		Complete bool    `json:"complete" doc:"These are all that the query selects."`
	}
}

// facets answers with the most frequent values of a field.
func (s *Server) facets(ctx context.Context, in *facetsInput) (*facetsOutput, error) {
	v, q, err := s.enterQuery(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	_, err = new(attestlog.Entry).Field(in.Field)
	if err != nil {
		return nil, problem(http.StatusBadRequest, "field: "+err.Error())
	}
	err = s.recordLook(ctx, v, "audit.query", "read", map[string]any{"query": in.Q, "facets": in.Field})
	if err != nil {
		return nil, err
	}

	counts := facetCounts{}
	out := &facetsOutput{}
	out.Body.Field = in.Field
	opts := attestlog.PageOptions{Limit: facetPage, Bytes: maxPage}
	for out.Body.Entries < maxFacetEntries && !out.Body.Complete {
		page, err := v.log.Query(ctx, q, opts)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		err = counts.add(page.Entries, in.Field)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}

		for i := range page.Entries {
			v.noteDamage(&page.Entries[i])
			if page.Entries[i].Err != nil {
				out.Body.Damaged++
			}
		}
		out.Body.Entries += uint64(len(page.Entries))
		out.Body.Complete = page.Next == ""
		opts.Cursor = page.Next
	}

	out.Body.Values = counts.top(in.Limit)
	return out, nil
}

// facetCounts count entries by a value that they have.
type facetCounts map[string]uint64

func (c facetCounts) add(entries []attestlog.Entry, field string) error {
	for i := range entries {
		values, err := entries[i].Field(field)
		if err != nil {
			return err
		}
		for _, value := range values { // a damaged entry has none
			_, known := c[value]
			if known || len(c) < maxFacetValues {
				c[value]++
			}
		}
	}
	return nil
}

// top returns the n most frequent values, equally frequent ones by name.
func (c facetCounts) top(n int) []facet {
	all := make([]facet, 0, len(c))
	for value, count := range c {
		all = append(all, facet{value, count})
	}
	slices.SortFunc(all, func(a, b facet) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	return all[:min(n, len(all))]
}
