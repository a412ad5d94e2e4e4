package cloudevents

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Imported is the attribute that holds what another log added to an event, as in
// package jsonlines.
const Imported = "imported"

// addition is what an entry has besides its event.
type addition struct {
	Index      *uint64  `json:"index"`
	LeafHash   string   `json:"leaf_hash"`
	LoggedTime string   `json:"logged_time"`
	Erased     []string `json:"erased"`
}

// entry reads data that is an entry, as Append writes it. ok is false where it is
// something else.
func entry(data []byte, o convert.Object) (e attestlog.Event, ok bool) {
	var of addition
	if err := json.Unmarshal(data, &of); err != nil || of.Index == nil {
		return e, false
	}
	_, timeErr := time.Parse(time.RFC3339, of.LoggedTime)
	if hash, err := base64.StdEncoding.DecodeString(of.LeafHash); err != nil || len(hash) != len(attestlog.Hash{}) || timeErr != nil {
		return e, false
	}
	e, err := attestlog.ParseEvent(eventOf(data, slices.Contains(of.Erased, "/actor/id")))
	if err != nil {
		return e, false
	}
	imported := map[string]any{"index": float64(*of.Index), "leaf_hash": of.LeafHash, "logged_time": of.LoggedTime, "source": o.Text("source")}
	if len(of.Erased) > 0 {
		var erased []any
		for _, pointer := range of.Erased {
			erased = append(erased, pointer)
		}
		imported["erased"] = erased
		if slices.Contains(of.Erased, "/actor/id") {
			e.Actor.ID = ""
		}
	}
	if e.Attributes == nil {
		e.Attributes = map[string]any{}
	}
	if before, taken := e.Attributes[Imported]; taken {
		imported[Imported] = before // by the log that wrote this
	}
	e.Attributes[Imported] = imported
	for _, name := range [...]string{"data", "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "traceparent"} {
		delete(o, name) // which Append makes of the entry
	}
	if len(o) > 0 {
		convert.Object(e.Attributes).Put(Attribute, map[string]any(o))
	}
	return e, true
}

// eventOf returns an entry's text without what is not its event's. An event needs
// an actor, so one that was erased gets a placeholder.
func eventOf(data []byte, noActor bool) []byte {
	var parts [][]byte
	actor := []byte(`"actor":{"id":"erased"}`)
	for m := range loosejson.Members(data) {
		switch {
		case m.Name == "index" || m.Name == "leaf_hash" || m.Name == "logged_time" || m.Name == "erased":
		case m.Name == "actor" && noActor:
			if rest := bytes.TrimSpace(bytes.TrimPrefix(m.Raw, []byte("{"))); !bytes.Equal(rest, []byte("}")) {
				actor = append([]byte(`"actor":{"id":"erased",`), rest...)
			}
		default:
			parts = append(parts, m.Text)
		}
	}
	if noActor {
		parts = append(parts, actor)
	}
	return slices.Concat([]byte("{"), bytes.Join(parts, []byte(",")), []byte("}"))
}
