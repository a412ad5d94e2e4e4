package attestlog

import (
	"strconv"
	"strings"
	"time"
)

// comparison splits ">=5" into its operator and operand.
func comparison(value string) (op, operand string) {
	for _, op := range [...]string{">=", "<=", ">", "<"} {
		if rest, ok := strings.CutPrefix(value, op); ok {
			return op, rest
		}
	}
	return "", value
}

func (p *queryParser) index(at int, value string) Query {
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 62)
		if err != nil {
			p.fail(at, "index %q: not a whole number, a range 100..200 or a comparison >100", value)
		}
		return n
	}
	if lo, hi, ok := strings.Cut(value, ".."); ok {
		from, to := uint64(0), uint64(maxIndex)
		if lo != "" {
			from = number(lo)
		}
		if hi != "" {
			to = number(hi) + 1
		}
		return Indexes(from, to)
	}
	op, operand := comparison(value)
	n := number(operand)
	switch op {
	case ">=":
		return Indexes(n, maxIndex)
	case ">":
		return Indexes(n+1, maxIndex)
	case "<=":
		return Indexes(0, n+1)
	case "<":
		return Indexes(0, n)
	}
	return Indexes(n, n+1)
}

func (p *queryParser) bound(at int, name, value string) Query {
	start, _ := p.instant(at, value)
	if name == "after" {
		return Between(start, time.Time{})
	}
	return Between(time.Time{}, start)
}

func (p *queryParser) time(at int, value string) Query {
	if lo, hi, ok := strings.Cut(value, ".."); ok {
		var from, to time.Time
		if lo != "" {
			from, _ = p.instant(at, lo)
		}
		if hi != "" {
			to, _ = p.instant(at, hi)
		}
		return Between(from, to)
	}
	op, operand := comparison(value)
	start, end := p.instant(at, operand)
	switch op {
	case ">=":
		return Between(start, time.Time{})
	case ">":
		return Between(end, time.Time{})
	case "<=":
		return Between(time.Time{}, end)
	case "<":
		return Between(time.Time{}, start)
	}
	return Between(start, end)
}

// timeForms are the ways to write an instant, each with what it spans.
var timeForms = []struct {
	layout              string
	years, months, days int
	span                time.Duration
}{
	{"2006", 1, 0, 0, 0},
	{"2006-01", 0, 1, 0, 0},
	{"2006-01-02", 0, 0, 1, 0},
	{"2006-01-02T15", 0, 0, 0, time.Hour},
	{"2006-01-02T15:04", 0, 0, 0, time.Minute},
	{"2006-01-02T15:04Z07:00", 0, 0, 0, time.Minute},
	{"2006-01-02T15:04:05", 0, 0, 0, time.Second},
	{"2006-01-02T15:04:05Z07:00", 0, 0, 0, time.Second},
}

// instant reads a time, and the first instant after what it names: the next
// day for a day, the next nanosecond for a time with fractional seconds.
func (p *queryParser) instant(at int, value string) (start, end time.Time) {
	text := strings.Replace(value, " ", "T", 1)
	for _, f := range timeForms {
		t, err := time.Parse(f.layout, text)
		if err != nil {
			continue
		}
		t = t.UTC()
		span := f.span
		if span == time.Second && t.Nanosecond() != 0 {
			span = time.Nanosecond
		}
		end = t.AddDate(f.years, f.months, f.days).Add(span)
		if t.Before(minTime) || t.After(maxTime) {
			break
		}
		return t, end
	}
	p.fail(at, "time %q: not a date or RFC 3339 time between 1678 and 2261, such as 2026-01-02 or 2026-01-02T15:04:05Z", value)
	return time.Time{}, time.Time{}
}

func (p *queryParser) orderBy(at, valueAt int, value string) Query {
	if p.nested > 0 {
		return p.fail(at, "order: stands outside parentheses and negations")
	}
	switch value {
	case "index":
		p.order = ByIndex
	case "time":
		p.order = ByTime
	default:
		return p.fail(valueAt, "order %q: index or time", value)
	}
	return Query{}
}
