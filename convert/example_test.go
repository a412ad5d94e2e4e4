package convert_test

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// readDoors is a Reader of the records of door locks, such as
// {"opened":"2026-03-01T10:00:00Z","door":"7","badge":"alice"}.
func readDoors(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs("doors", source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(door(raw, ids))
	})
}

func door(raw []byte, ids *convert.IDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	if o.Text("door") == "" {
		return attestlog.Event{}, errors.New("not a door")
	}

	e := attestlog.Event{ID: ids.Next(raw), Original: raw, Action: "door.open"}
	e.Time, _ = convert.ParseTime(o.Text("opened"), time.RFC3339)
	e.Targets = []attestlog.Target{{Type: "door", ID: o.Take("door")}}
	e.Actor.ID = convert.Take(o, "badge", "guard.name")
	convert.Fill(&e, o)
	convert.Complete(&e, o)
	return e, nil
}

func ExampleReader() {
	const file = `{"opened":"2026-03-01T10:00:00Z","door":"7","badge":"alice","status":"ok","floor":2}
{"opened":"2026-03-01T10:
{"opened":"2026-03-01T10:00:05Z","door":"8","guard":{"name":"bob"}}
`
	var read convert.Reader = readDoors
	for e, err := range read(strings.NewReader(file), "doors.log") {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(e.Time.Format(time.TimeOnly), e.Actor.ID, e.Action, e.Targets[0].ID, e.Outcome, e.Attributes["floor"])
	}
	// Output:
	// 10:00:00 alice door.open 7 success 2
	// doors.log: record 2 (line 2, byte 85): the record is torn
	// 10:00:05 bob door.open 8  <nil>
}
