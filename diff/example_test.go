package diff_test

import (
	"encoding/json"
	"fmt"

	"github.com/attestlog/attestlog/diff"
)

func ExampleChanges() {
	type Role struct {
		Name string `audit:"name,key"`
		Site string
	}
	type User struct {
		Email    string `json:"email"`
		Password string `audit:"password,redact"`
		Roles    []Role `audit:"roles"`
	}
	was := User{"a@example.com", "secret", []Role{{"admin", "Oslo"}, {"reader", "Oslo"}}}
	is := User{"b@example.com", "better", []Role{{"reader", "Rome"}}}

	for _, c := range diff.Changes(was, is) {
		old, _ := json.Marshal(c.Old)
		new, _ := json.Marshal(c.New)
		fmt.Printf("%s %s: %s -> %s\n", c.Op, c.Path, old, new)
	}
	// Output:
	// replace /email: "a@example.com" -> "b@example.com"
	// replace /password: "[redacted]" -> "[redacted]"
	// remove /roles/admin: {"Site":"Oslo","name":"admin"} -> null
	// replace /roles/reader/Site: "Oslo" -> "Rome"
}
