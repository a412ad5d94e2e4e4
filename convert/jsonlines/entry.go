package jsonlines

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Imported is the attribute that holds what the old log added to an event.
const Imported = "imported"

const loggedTime = "2006-01-02T15:04:05.000000Z"

// exported reads an entry. ok is false where the line is something else.
func exported(line []byte) (e attestlog.Event, ok bool, err error) {
	r, err := attestlog.ParseLine(line)
	if err != nil {
		return e, false, nil
	}
	leaf, err := attestlog.ParseLeaf(r.Leaf)
	if err != nil {
		return e, true, fmt.Errorf("entry %d: leaf: %v", r.Index, err)
	}
	e, erased, err := disclose(&leaf, r.Disclosures)
	if err != nil {
		return e, true, fmt.Errorf("entry %d: %v", r.Index, err)
	}
	imported := map[string]any{
		"index":       float64(r.Index),
		"logged_time": leaf.LoggedTime.UTC().Format(loggedTime),
	}
	if len(erased) > 0 {
		imported["erased"] = erased
	}
	if e.Attributes == nil {
		e.Attributes = map[string]any{}
	}
	if before, ok := e.Attributes[Imported]; ok {
		imported[Imported] = before // by the log that wrote this line
	}
	e.Attributes[Imported] = imported
	convert.Bound(&e)
	return e, true, nil
}

// disclose returns a leaf's event with disclosed values in their places, and
// the pointers of those that are erased.
func disclose(leaf *attestlog.Leaf, disclosures []attestlog.Disclosure) (e attestlog.Event, erased []any, err error) {
	e = leaf.Event
	found := map[string]*attestlog.Disclosure{}
	for i := range disclosures {
		found[disclosures[i].Pointer] = &disclosures[i]
	}
	if len(found) != len(disclosures) {
		return e, nil, fmt.Errorf("disclosures: a pointer twice")
	}
	for _, s := range leaf.Sealed {
		d, ok := found[s.Pointer]
		if !ok {
			erased = append(erased, s.Pointer)
			continue
		}
		delete(found, s.Pointer)
		if d.Digest() != s.Digest {
			return e, nil, fmt.Errorf("disclosure %s does not match its seal", s.Pointer)
		}
		if err := put(&e, d); err != nil {
			return e, nil, fmt.Errorf("disclosure %s: %v", s.Pointer, err)
		}
	}
	for pointer := range found {
		return e, nil, fmt.Errorf("disclosure %s has no seal", pointer)
	}
	return e, erased, nil
}

// put sets the field that a disclosure is of. Its value is JSON that the
// digest vouches for.
func put(e *attestlog.Event, d *attestlog.Disclosure) error {
	names := strings.Split(d.Pointer[1:], "/")
	if names[0] == "attributes" && len(names) == 2 {
		v, err := convert.Decode(d.Value)
		if err != nil {
			return err
		}
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes[strings.NewReplacer("~1", "/", "~0", "~").Replace(names[1])] = v
		return nil
	}
	value := json.RawMessage(d.Value)
	if len(names) == 2 {
		value = fmt.Appendf(nil, `{"%s":%s}`, names[1], value)
	}
	alone, err := parsePart(names[0], value)
	if err != nil {
		return err
	}
	part := alone
	for _, f := range [...]struct{ to, from *string }{
		{&e.Actor.Name, &part.Actor.Name},
		{&e.Actor.Session, &part.Actor.Session},
		{&e.Actor.OnBehalfOf, &part.Actor.OnBehalfOf},
		{&e.Message, &part.Message},
		{&e.Reason, &part.Reason},
		{&e.Request.Path, &part.Request.Path},
		{&e.Source.Host, &part.Source.Host},
		{&e.Source.IP, &part.Source.IP},
		{&e.Source.UserAgent, &part.Source.UserAgent},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	if d.Pointer == "/actor/id" {
		e.Actor.ID = part.Actor.ID
	}
	if part.Original != nil {
		e.Original = part.Original
	}
	return nil
}

// parsePart reads an event that has nothing but one field and what is
// required.
func parsePart(name string, value json.RawMessage) (attestlog.Event, error) {
	if name == "actor" {
		var actor map[string]json.RawMessage
		if err := json.Unmarshal(value, &actor); err != nil {
			return attestlog.Event{}, err
		}
		if actor["id"] == nil {
			actor["id"] = json.RawMessage(`"x"`)
		}
		value, _ = json.Marshal(actor)
		return attestlog.ParseEvent(fmt.Appendf(nil, `{"action":"x","actor":%s}`, value))
	}
	return attestlog.ParseEvent(fmt.Appendf(nil, `{"action":"x","actor":{"id":"x"},"%s":%s}`, name, value))
}

// isCheckpoint reports whether a line holds a signed checkpoint and nothing
// else.
func isCheckpoint(line []byte) bool {
	var only map[string]json.RawMessage
	var note string
	if !strings.HasPrefix(string(line[:min(len(line), 16)]), `{"checkpoint":`) || json.Unmarshal(line, &only) != nil || len(only) != 1 {
		return false
	}
	if json.Unmarshal(only["checkpoint"], &note) != nil {
		return false
	}
	_, err := attestlog.ParseCheckpoint([]byte(note))
	return err == nil
}
