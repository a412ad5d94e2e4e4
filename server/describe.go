package server

import (
	"bytes"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// bodyWait bounds how long a client may take to send a body.
const bodyWait = 30 * time.Second

type schema = huma.Schema

func text(doc string) *schema { return &schema{Type: huma.TypeString, Description: doc} }

func object(doc string, properties map[string]*schema, required ...string) *schema {
	return &schema{Type: huma.TypeObject, Description: doc, Properties: properties, Required: required, AdditionalProperties: false}
}

func listOf(doc string, items *schema) *schema {
	return &schema{Type: huma.TypeArray, Description: doc, Items: items}
}

func words(doc string, values ...any) *schema {
	return &schema{Type: huma.TypeString, Description: doc, Enum: values}
}

func number(doc string) *schema {
	return &schema{Type: huma.TypeInteger, Format: "int64", Description: doc}
}

func refTo(name string) *schema { return &schema{Ref: "#/components/schemas/" + name} }

// defineSchemas describes what the log's own packages read and write, which has
// no struct tags.
func defineSchemas(r huma.Registry) {
	event := map[string]*schema{
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
			"id": text(""), "type": words("", "user", "service", "system", "anonymous"), "name": text(""), "session": text(""),
			"on_behalf_of": text("The principal that the actor acted for."),
		}),
		"source":  object("From where.", map[string]*schema{"ip": text(""), "user_agent": text(""), "host": text("")}),
		"targets": listOf("What it was done to.", object("", map[string]*schema{"id": text(""), "type": text(""), "name": text("")})),
		"request": object("The HTTP or RPC request.", map[string]*schema{
			"id": text(""), "method": text(""), "path": text(""), "route": text(""), "status": number(""), "duration_us": number("Microseconds."),
		}),
		"trace":      object("W3C trace context.", map[string]*schema{"trace_id": text(""), "span_id": text("")}),
		"changes":    listOf("What became different.", object("", map[string]*schema{"path": text(""), "op": text(""), "old": {}, "new": {}})),
		"message":    text("Free text."),
		"attributes": {Type: huma.TypeObject, Description: "Anything else.", AdditionalProperties: true},
		"original":   text("A foreign record's exact bytes: text, or data:;base64,… where they are not UTF-8."),
	}
	entry := maps.Clone(event)
	entry["index"] = number("The entry's place in the log, from 0.")
	entry["logged_time"] = &schema{Type: huma.TypeString, Format: "date-time", Description: "When the log took it."}
	entry["leaf_hash"] = text("RFC 6962 leaf hash, in base64.")
	entry["erased"] = listOf("Pointers of the sealed fields whose values are gone.", text(""))
	r.Map()["Event"] = object("What a caller submits.", event, "action", "actor")
	r.Map()["Entry"] = object("An event in its place in the log.", entry, "index", "logged_time", "leaf_hash", "id", "time", "action")
	r.Map()["Page"] = object("A page of entries.", map[string]*schema{
		"entries": listOf("Newest first.", refTo("Entry")), "next": text("The cursor of the page after this; absent on the last."),
		"size": number("How many entries the log had."),
	}, "entries", "size")
	for _, s := range r.Map() {
		s.PrecomputeMessages()
	}
}

func answered(description, contentType string, body *schema) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{contentType: {Schema: body}}}
}

// entries is an answer in either form.
func entries(body *schema) *huma.Response {
	r := answered("OK", "application/json", body)
	r.Content["application/x-ndjson"] = &huma.MediaType{Schema: text("Entries' exact bytes, one a line, with lines=true")}
	return r
}

// responsesOf describes answers whose bodies are not made of Go structs.
func responsesOf(o op) map[string]*huma.Response {
	switch o.id {
	case "query-entries":
		return map[string]*huma.Response{"200": entries(refTo("Page")), "304": {Description: "Not Modified"}}
	case "get-entry", "get-entry-by-id":
		return map[string]*huma.Response{"200": entries(refTo("Entry"))}
	case "get-checkpoint", "publish-checkpoint":
		return map[string]*huma.Response{"200": answered("A signed note", "text/plain", text("c2sp.org/tlog-checkpoint"))}
	case "prove-inclusion":
		return map[string]*huma.Response{"200": answered("A proof", "text/plain", text("c2sp.org/tlog-proof"))}
	}
	return nil
}

func queryOf(name, doc string, s *schema) *huma.Param {
	s.Description = doc
	return &huma.Param{Name: name, In: "query", Schema: s, Description: doc}
}

// describeStreams adds the operations that answer with streams, which huma does
// not run.
func (s *Server) describeStreams(api huma.API) {
	logParam := &huma.Param{Name: "log", In: "path", Required: true, Schema: text("")}
	q := func() *huma.Param { return queryOf("q", "A query.", text("")) }
	from := func(doc string) *huma.Param { return queryOf("from", doc, &schema{Type: huma.TypeInteger}) }
	problems := func(codes ...int) map[string]*huma.Response {
		out := map[string]*huma.Response{}
		for _, code := range codes {
			out[strconv.Itoa(code)] = answered(http.StatusText(code), "application/problem+json", refTo("ErrorModel"))
		}
		return out
	}
	tail := problems(400, 401, 403, 429, 500, 503)
	tail["200"] = answered("Entries as they come: id is the index, data the entry", "text/event-stream", text("Server-Sent Events"))
	export := problems(400, 401, 403, 429, 500, 503)
	export["200"] = &huma.Response{Description: "Entries, oldest first; the trailer Attestlog-Size stands behind a stream that is whole", Content: map[string]*huma.MediaType{
		"application/x-ndjson": {Schema: text("One entry a line: docs/format.md, \"Lines\"")}, "text/csv": {Schema: text("RFC 4180, a first line of names")},
	}}
	for _, o := range []*huma.Operation{
		{
			OperationID: "tail-entries", Method: http.MethodGet, Path: logPath + "/tail", Summary: "Follow the log", Tags: []string{"tail"}, Responses: tail,
			Parameters: []*huma.Param{
				logParam, q(), from("The index to begin at. Defaults to new entries alone."),
				queryOf("lines", "Send the entries' exact bytes, as an export has them.", &schema{Type: huma.TypeBoolean}),
				{Name: "Last-Event-ID", In: "header", Schema: text("The index to go on behind; browsers send it by themselves.")},
			},
		},
		{
			OperationID: "export-entries", Method: http.MethodGet, Path: logPath + "/export", Summary: "All entries that a query selects, as a stream", Tags: []string{"export"}, Responses: export,
			Parameters: []*huma.Param{
				logParam, q(), from("The index to begin at: one behind the last whole line of a stream that broke off."),
				queryOf("format", "Defaults to jsonl.", words("", "jsonl", "csv")), queryOf("fields", "Columns of csv, with commas between them.", text("")),
				queryOf("disclosures", "Whether sealed values go with the entries. Defaults to true.", &schema{Type: huma.TypeBoolean}),
			},
		},
	} {
		api.OpenAPI().AddOperation(o)
	}
	s.mux.HandleFunc("GET "+logPath+"/tail", s.tail)
	s.mux.HandleFunc("GET "+logPath+"/export", s.export)
}

var docs = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>attestlog API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h2{border-top:1px solid #ccc;padding-top:1rem;font-size:1.1rem}code{background:#f2f2f2;padding:.1em .3em}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #eee}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}code{background:#2a2a2a}td,th{border-color:#333}a{color:#9cf}}</style></head>
<body><h1>attestlog API</h1><p>{{.About}} The whole description: <a href="/openapi.json">/openapi.json</a>.</p>
{{range .Operations}}<h2 id="{{.ID}}"><code>{{.Method}} {{.Path}}</code></h2><p>{{.Summary}}.</p>
{{if .Params}}<table><thead><tr><th scope="col">Parameter</th><th scope="col">In</th><th scope="col">Meaning</th></tr></thead><tbody>
{{range .Params}}<tr><td><code>{{.Name}}</code>{{if .Required}} (required){{end}}</td><td>{{.In}}</td><td>{{.Doc}}</td></tr>{{end}}</tbody></table>{{end}}
<p>Answers: {{.Answers}}</p>{{end}}
</body></html>
`))

type docOperation struct {
	ID, Method, Path, Summary, Answers string
	Params                             []docParam
}

type docParam struct {
	Name, In, Doc string
	Required      bool
}

// docsPage renders the description as one page without scripts.
func docsPage(api *huma.OpenAPI) []byte {
	page := struct {
		About      string
		Operations []docOperation
	}{About: api.Info.Description}
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		item := api.Paths[path]
		for _, o := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if o == nil {
				continue
			}
			d := docOperation{ID: o.OperationID, Method: o.Method, Path: path, Summary: strings.TrimSuffix(o.Summary, "."), Answers: strings.Join(slices.Sorted(maps.Keys(o.Responses)), ", ")}
			for _, p := range o.Parameters {
				doc := p.Description
				if doc == "" && p.Schema != nil {
					doc = p.Schema.Description
				}
				d.Params = append(d.Params, docParam{p.Name, p.In, doc, p.Required})
			}
			page.Operations = append(page.Operations, d)
		}
	}
	var b bytes.Buffer
	if err := docs.Execute(&b, page); err != nil {
		panic(err) // the template and its data are the program's own
	}
	return b.Bytes()
}
