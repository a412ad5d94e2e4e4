package query_test

import (
	"fmt"
	"time"

	"github.com/attestlog/attestlog/query"
)

func ExampleParse() {
	q, err := query.Parse("actor:alice action:mail.* -outcome:failure")
	fmt.Println(q, err)

	_, err = query.Parse("actor:alice colour:red")
	fmt.Println(err)
	// Output:
	// actor:alice action:"mail."* -outcome:failure <nil>
	// query: column 13: unknown field "colour" (quote it to search for text)
}

// Programs use the constructors, so that no value is ever read as a part of the
// language.
func ExampleAnd() {
	january := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	q := query.And(
		query.Field("actor", "alice OR bob"),
		query.Not(query.Network("10.0.0.0/8")),
		query.Between(january, january.AddDate(0, 1, 0)),
	)
	fmt.Println(q)
	// Output: actor:"alice OR bob" -ip:10.0.0.0/8 time:2026-01-01T00:00:00Z..2026-02-01T00:00:00Z
}
