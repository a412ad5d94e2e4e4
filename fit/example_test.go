package fit_test

import (
	"encoding/json"
	"fmt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

func ExampleEvent() {
	e := attestlog.Event{
		Action:     "login",
		Message:    "caf\xe9",                                              // not UTF-8
		Attributes: map[string]any{"uid": json.Number("9007199254740993")}, // 2^53 + 1
	}

	fit.Event(&e)
	fmt.Printf("%s: %+q, %v\n", e.Actor.ID, e.Message, e.Attributes["uid"])
	notes, _ := json.MarshalIndent(e.Attributes[fit.NotesName], "", "  ")
	fmt.Println(string(notes))

	back := fit.Restore(e)
	fmt.Printf("%q: %+q, %v\n", back.Actor.ID, back.Message, back.Attributes)
	// Output:
	// unknown.actor: "caf\ufffde9", 9007199254740993
	// {
	//   "/actor/id": {
	//     "as": "empty"
	//   },
	//   "/attributes/uid": {
	//     "as": "number"
	//   },
	//   "/message": {
	//     "as": "escaped"
	//   }
	// }
	// "": "caf\xe9", map[uid:9007199254740993]
}
