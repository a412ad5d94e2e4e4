package oldlog

import (
	"context"
	"iter"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// A Comparison says what became of the rows of a table that are in the log.
type Comparison struct {
	Rows    int     // that are in the log
	Missing int     // that the table has no more
	Changed int     // that the table has with other values
	First   []int64 // the ids of the first ten of those
}

// A Pair is a row of a table, or the row that an entry was made of. Mark is the
// same for two rows only if they are.
type Pair struct {
	ID   int64
	Mark string
}

// Compare compares a table's rows, by id, with those that the entries of a log
// were made of. It needs little memory if the entries are in about that order.
func Compare(rows, entries iter.Seq2[Pair, error]) (c Comparison, err error) {
	next, stop := iter.Pull2(rows)
	defer stop()

	// Rows that were read and for which no entry has come yet.
	waiting := map[int64]string{}
	read, more := int64(0), true
	readTo := func(id int64) error {
		for more && (len(waiting) == 0 || read < id) {
			var row Pair
			var err error
			row, err, more = next()
			if !more || err != nil {
				return err
			}
			read = row.ID
			waiting[row.ID] = row.Mark
		}
		return nil
	}

	for entry, err := range entries {
		if err != nil {
			return c, err
		}
		if err := readTo(entry.ID); err != nil {
			return c, err
		}

		c.Rows++
		mark, found := waiting[entry.ID]
		if found && mark == entry.Mark {
			delete(waiting, entry.ID)
			continue
		}
		if found {
			c.Changed++
		} else {
			c.Missing++
		}
		if len(c.First) < 10 {
			c.First = append(c.First, entry.ID)
		}
	}
	return c, nil
}

// Record appends the entry that a comparison under a name ends with. It has the
// action NAME.compared, and its outcome is a failure if rows are missing or were
// changed.
func (c Comparison) Record(ctx context.Context, log *attestlog.Log, name string) error {
	e := attestlog.Event{
		Action:     comparedBy(name),
		Operation:  "read",
		Outcome:    attestlog.Success,
		Actor:      attestlog.Actor{ID: name, Type: "system"},
		Attributes: map[string]any{"rows": c.Rows, "missing": c.Missing, "changed": c.Changed},
	}
	if c.Missing+c.Changed > 0 {
		e.Outcome = attestlog.Failure
		e.Reason = "rows that were taken over are not in the old table any more, or with other values"
		e.Attributes["first"] = c.First
	}
	_, err := log.Append(ctx, e)
	return err
}

// LastCompared returns when a table was compared last under a name, or, if it never
// was, when its first import ended. It is the zero time if neither was.
func LastCompared(ctx context.Context, log *attestlog.Log, name string) (time.Time, error) {
	q := query.Or(query.Field("action", comparedBy(name)), Imported(name))
	page, err := log.Query(ctx, q, attestlog.PageOptions{Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		return time.Time{}, err
	}
	return page.Entries[0].LoggedTime, nil
}

// Own selects the entries that stand for no call of the old log under a name: those
// of the log itself, and those about the table.
func Own(name string) query.Query {
	return query.Or(query.Prefix("action", "attestlog."), Imported(name), query.Field("action", comparedBy(name)))
}

func comparedBy(name string) string { return name + ".compared" }
