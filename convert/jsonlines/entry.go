package jsonlines

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
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
	fit.Event(&e)
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
		return e, nil, errors.New("disclosures: a pointer twice")
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
		v, err := loosejson.Decode(d.Value)
		if err != nil {
			return err
		}
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes[strings.NewReplacer("~1", "/", "~0", "~").Replace(names[1])] = v
		return nil
	}
	if d.Pointer == "/original" {
		only, err := attestlog.ParseEvent(fmt.Appendf(nil, `{"action":"x","actor":{"id":"x"},"original":%s}`, d.Value))
		e.Original = only.Original
		return err
	}
	to := map[string]*string{
		"/actor/id":           &e.Actor.ID,
		"/actor/name":         &e.Actor.Name,
		"/actor/on_behalf_of": &e.Actor.OnBehalfOf,
		"/actor/session":      &e.Actor.Session,
		"/message":            &e.Message,
		"/reason":             &e.Reason,
		"/request/path":       &e.Request.Path,
		"/source/host":        &e.Source.Host,
		"/source/ip":          &e.Source.IP,
		"/source/user_agent":  &e.Source.UserAgent,
	}[d.Pointer]
	if to == nil {
		return errors.New("not a field that can be sealed")
	}
	return json.Unmarshal(d.Value, to)
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
