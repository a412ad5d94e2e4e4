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

// An addition is what an entry has besides its event.
type addition struct {
	Index      *uint64  `json:"index"`
	LeafHash   string   `json:"leaf_hash"`
	LoggedTime string   `json:"logged_time"`
	Erased     []string `json:"erased"`
}

// entry reads data that is an entry, as Append writes it. Other data is not ok,
// and leaves the context o as it is.
func entry(data []byte, o convert.Object) (e attestlog.Event, ok bool) {
	added, ok := parseAddition(data)
	if !ok {
		return e, false
	}
	noActor := slices.Contains(added.Erased, "/actor/id")
	e, err := attestlog.ParseEvent(eventText(data, noActor))
	if err != nil {
		return e, false
	}
	if noActor {
		e.Actor.ID = "" // the placeholder
	}

	convert.SetImported(&e, map[string]any{
		"index":       float64(*added.Index),
		"leaf_hash":   added.LeafHash,
		"logged_time": added.LoggedTime,
		"source":      o.Text("source"),
	}, added.Erased)

	// Append makes these of the entry.
	for _, name := range [...]string{
		"data", "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "traceparent",
	} {
		delete(o, name)
	}
	addContext(&e, o)
	return e, true
}

// parseAddition reads what an entry has besides its event, all of it.
func parseAddition(data []byte) (a addition, ok bool) {
	if err := json.Unmarshal(data, &a); err != nil || a.Index == nil {
		return a, false
	}
	hash, err := base64.StdEncoding.DecodeString(a.LeafHash)
	if err != nil || len(hash) != len(attestlog.Hash{}) {
		return a, false
	}
	_, err = time.Parse(time.RFC3339, a.LoggedTime)
	return a, err == nil
}

// isAddition reports whether a member of an entry is not one of its event.
func isAddition(name string) bool {
	switch name {
	case "index", "leaf_hash", "logged_time", "erased":
		return true
	}
	return false
}

// eventText returns the text of an entry's event. An event needs an actor, so
// if the actor's id was erased, noActor, it gets a placeholder.
func eventText(data []byte, noActor bool) []byte {
	var members [][]byte
	actor := []byte(`"actor":{"id":"erased"}`)
	for m := range loosejson.Members(data) {
		switch {
		case isAddition(m.Name):
			// not the event's
		case m.Name == "actor" && noActor:
			rest := bytes.TrimSpace(bytes.TrimPrefix(m.Raw, []byte("{")))
			if !bytes.Equal(rest, []byte("}")) {
				actor = append([]byte(`"actor":{"id":"erased",`), rest...)
			}
		default:
			members = append(members, m.Text)
		}
	}
	if noActor {
		members = append(members, actor)
	}
	return slices.Concat([]byte("{"), bytes.Join(members, []byte(",")), []byte("}"))
}
