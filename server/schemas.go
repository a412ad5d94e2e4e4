package server

import (
	"maps"

	"github.com/danielgtaylor/huma/v2"

	"github.com/attestlog/attestlog/internal/field"
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

// eventFields describes the members of an event, which are the fields of its
// table and the attributes.
func eventFields() map[string]*schema {
	members := fieldsOf(field.Event)
	for _, part := range field.Parts() {
		if part.List() {
			members[part.Name()] = listOf(part.About(), object("", fieldsOf(part)))
		} else {
			members[part.Name()] = object(part.About(), fieldsOf(part))
		}
	}
	members["attributes"] = &schema{
		Type: huma.TypeObject, Description: "Anything else.", AdditionalProperties: true,
	}
	return members
}

func fieldsOf(part field.Object) map[string]*schema {
	members := map[string]*schema{}
	for _, f := range part.Fields() {
		members[f.Name] = fieldSchema(f)
	}
	return members
}

func fieldSchema(f *field.Field) *schema {
	switch {
	case f.Kind == field.Number:
		return number(f.About)
	case f.Kind == field.Value:
		return &schema{}
	case f.Values != nil:
		return words(f.About, f.Values...)
	}
	return text(f.About)
}

func text(doc string) *schema { return &schema{Type: huma.TypeString, Description: doc} }

func words(doc string, values ...string) *schema {
	s := text(doc)
	for _, v := range values {
		s.Enum = append(s.Enum, v)
	}
	return s
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
