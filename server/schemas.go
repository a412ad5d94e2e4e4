package server

import (
	"maps"

	"github.com/danielgtaylor/huma/v2"
)

type schema = huma.Schema

// addSchemas describes the JSON of types of the log, which have no tags for huma.
func addSchemas(r huma.Registry) {
	event := eventFields()

	entry := maps.Clone(event)
	entry["index"] = number("The entry's place in the log, from 0.")
	entry["logged_time"] = &schema{Type: huma.TypeString, Format: "date-time", Description: "When the log took it."}
	entry["leaf_hash"] = text("RFC 6962 leaf hash, in base64.")
	entry["erased"] = listOf("Pointers of the sealed fields whose values are gone.", text(""))

	page := map[string]*schema{
		"entries": listOf("Newest first.", refTo("Entry")),
		"next":    text("The cursor of the page after this; absent on the last."),
		"size":    number("How many entries the log had."),
	}

	r.Map()["Event"] = object("What a caller submits.", event, "action", "actor")
	r.Map()["Entry"] = object("An event in its place in the log.", entry,
		"index", "logged_time", "leaf_hash", "id", "time", "action")
	r.Map()["Page"] = object("A page of entries.", page, "entries", "size")
	for _, s := range r.Map() {
		s.PrecomputeMessages()
	}
}

func eventFields() map[string]*schema {
	return map[string]*schema{
		"id":        text("The caller's idempotency key, at most 128 bytes. One that is no UUIDv7 needs a time."),
		"time":      text("When it happened, RFC 3339. Defaults to now."),
		"tenant":    text("Whose event it is."),
		"service":   text("Which program reports it."),
		"module":    text("Which part of the program."),
		"action":    text("What was done: by convention a dotted name such as mail.view."),
		"operation": text("The kind of action: create, read, update, delete, login, …"),
		"outcome":   words("How it ended.", "success", "failure", "unknown"),
		"reason":    text("Why, where the outcome is not success."),
		"actor": object("Who did it.", map[string]*schema{
			"id":           text(""),
			"type":         words("", "user", "service", "system", "anonymous"),
			"name":         text(""),
			"session":      text(""),
			"on_behalf_of": text("The principal that the actor acted for."),
		}),
		"source": object("From where.", map[string]*schema{
			"ip":         text(""),
			"user_agent": text(""),
			"host":       text(""),
		}),
		"targets": listOf("What it was done to.", object("", map[string]*schema{
			"id":   text(""),
			"type": text(""),
			"name": text(""),
		})),
		"request": object("The HTTP or RPC request.", map[string]*schema{
			"id":          text(""),
			"method":      text(""),
			"path":        text(""),
			"route":       text(""),
			"status":      number(""),
			"duration_us": number("Microseconds."),
		}),
		"trace": object("W3C trace context.", map[string]*schema{
			"trace_id": text(""),
			"span_id":  text(""),
		}),
		"changes": listOf("What became different.", object("", map[string]*schema{
			"path": text(""),
			"op":   text(""),
			"old":  {},
			"new":  {},
		})),
		"message":    text("Free text."),
		"attributes": {Type: huma.TypeObject, Description: "Anything else.", AdditionalProperties: true},
		"original":   text("A foreign record's exact bytes: text, or data:;base64,… where they are not UTF-8."),
	}
}

func text(doc string) *schema { return &schema{Type: huma.TypeString, Description: doc} }

func words(doc string, values ...any) *schema {
	return &schema{Type: huma.TypeString, Description: doc, Enum: values}
}

func number(doc string) *schema {
	return &schema{Type: huma.TypeInteger, Format: "int64", Description: doc}
}

func integer() *schema { return &schema{Type: huma.TypeInteger} }

func object(doc string, properties map[string]*schema, required ...string) *schema {
	return &schema{
		Type: huma.TypeObject, Description: doc,
		Properties: properties, Required: required, AdditionalProperties: false,
	}
}

func listOf(doc string, items *schema) *schema {
	return &schema{Type: huma.TypeArray, Description: doc, Items: items}
}

func refTo(name string) *schema { return &schema{Ref: "#/components/schemas/" + name} }

// response describes an answer with one type of content.
func response(description, contentType string, body *schema) *huma.Response {
	return &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{contentType: {Schema: body}},
	}
}

// entriesResponse describes an answer that is JSON or lines.
func entriesResponse(body *schema) *huma.Response {
	r := response("OK", "application/json", body)
	r.Content["application/x-ndjson"] = &huma.MediaType{Schema: text("Entries' exact bytes, one a line, with lines=true")}
	return r
}
