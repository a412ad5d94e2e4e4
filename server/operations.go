package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Version is that of the API.
const Version = "1.0.0"

const (
	logsPath = "/api/v1/logs"
	logPath  = logsPath + "/{log}"
)

// bodyWait bounds how long a client may take to send a body.
const bodyWait = 30 * time.Second

// An operation describes a handler that huma runs.
type operation struct {
	id, method, path string
	summary          string
	status           int
	// errors are the statuses of its problems, without those that every operation
	// has: 429, 500 and 503.
	errors []int
	// responses describes answers whose bodies are not made of Go structs.
	responses map[string]*huma.Response
	// enterFirst lets a request in with this scope before its body is read.
	enterFirst string
}

// addOperations adds the handlers that huma runs: it parses their parameters and
// writes the values that they return.
func (s *Server) addOperations(api huma.API) {
	const get, post = http.MethodGet, http.MethodPost

	register(s, api, s.list, operation{
		id: "list-logs", method: get, path: logsPath, status: 200,
		summary: "The logs that the token is good for",
		errors:  []int{401, 403},
	})
	register(s, api, s.info, operation{
		id: "get-log", method: get, path: logPath, status: 200,
		summary: "A log's figures",
		errors:  []int{401, 403},
	})

	register(s, api, s.append, operation{
		id: "append-entries", method: post, path: logPath + "/entries", status: 201,
		summary:    "Store events, all or none, durably",
		errors:     []int{400, 401, 403, 409, 413, 415, 422, 503},
		enterFirst: ScopeAppend,
	})
	register(s, api, s.query, operation{
		id: "query-entries", method: get, path: logPath + "/entries", status: 200,
		summary: "A page of entries, newest first",
		errors:  []int{304, 400, 401, 403, 422},
		responses: map[string]*huma.Response{
			"200": entriesResponse(refTo("Page")),
			"304": {Description: "Not Modified"},
		},
	})
	register(s, api, s.entry, operation{
		id: "get-entry", method: get, path: logPath + "/entries/{index}", status: 200,
		summary:   "One entry",
		errors:    []int{401, 403, 404, 422},
		responses: map[string]*huma.Response{"200": entriesResponse(refTo("Entry"))},
	})
	register(s, api, s.entryByID, operation{
		id: "get-entry-by-id", method: get, path: logPath + "/entry", status: 200,
		summary:   "The entry with an id",
		errors:    []int{401, 403, 404, 422},
		responses: map[string]*huma.Response{"200": entriesResponse(refTo("Entry"))},
	})
	register(s, api, s.count, operation{
		id: "count-entries", method: get, path: logPath + "/count", status: 200,
		summary: "How many entries a query selects",
		errors:  []int{400, 401, 403, 422},
	})
	register(s, api, s.facets, operation{
		id: "get-facets", method: get, path: logPath + "/facets", status: 200,
		summary: "The most frequent values of a field",
		errors:  []int{400, 401, 403, 422},
	})
	register(s, api, s.histogram, operation{
		id: "get-histogram", method: get, path: logPath + "/histogram", status: 200,
		summary: "Entries over time",
		errors:  []int{400, 401, 403, 422},
	})

	register(s, api, s.checkpoint, operation{
		id: "get-checkpoint", method: get, path: logPath + "/checkpoint", status: 200,
		summary:   "The newest signed checkpoint (c2sp.org/tlog-checkpoint)",
		errors:    []int{401, 403},
		responses: map[string]*huma.Response{"200": response("A signed note", "text/plain", text("c2sp.org/tlog-checkpoint"))},
	})
	register(s, api, s.publish, operation{
		id: "publish-checkpoint", method: post, path: logPath + "/checkpoint", status: 200,
		summary:   "A signed checkpoint over all that was acknowledged",
		errors:    []int{401, 403, 503},
		responses: map[string]*huma.Response{"200": response("A signed note", "text/plain", text("c2sp.org/tlog-checkpoint"))},
	})
	register(s, api, s.inclusion, operation{
		id: "prove-inclusion", method: get, path: logPath + "/proofs/{index}", status: 200,
		summary:   "A proof of one entry (c2sp.org/tlog-proof)",
		errors:    []int{401, 403, 404, 422},
		responses: map[string]*huma.Response{"200": response("A proof", "text/plain", text("c2sp.org/tlog-proof"))},
	})
	register(s, api, s.consistency, operation{
		id: "prove-consistency", method: get, path: logPath + "/consistency", status: 200,
		summary: "A proof that one tree is the beginning of another",
		errors:  []int{401, 403, 404, 422},
	})

	register(s, api, s.startVerification, operation{
		id: "start-verification", method: post, path: logPath + "/verifications", status: 202,
		summary: "Verify the whole log",
		errors:  []int{401, 403, 409, 422},
	})
	register(s, api, s.verification, operation{
		id: "get-verification", method: get, path: logPath + "/verifications/{id}", status: 200,
		summary: "A verification's progress and result",
		errors:  []int{401, 403, 404},
	})
}

// register adds one operation. Bodies are not validated by schema: the log's own
// rules do it better.
func register[I, O any](s *Server, api huma.API, fn func(context.Context, *I) (*O, error), o operation) {
	registered := huma.Operation{
		OperationID:      o.id,
		Method:           o.method,
		Path:             o.path,
		Summary:          o.summary,
		Tags:             []string{o.tag()},
		DefaultStatus:    o.status,
		Errors:           o.allErrors(),
		Responses:        o.responses,
		MaxBodyBytes:     s.cfg.MaxBody,
		BodyReadTimeout:  bodyWait,
		SkipValidateBody: true,
	}
	if o.enterFirst != "" {
		registered.Middlewares = huma.Middlewares{s.enterFirst(o.enterFirst)}
	}
	huma.Register(api, registered, fn)

	// huma adds a 422 to every operation that has a parameter.
	if !slices.Contains(o.errors, http.StatusUnprocessableEntity) {
		item := api.OpenAPI().Paths[o.path]
		byMethod := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post}
		delete(byMethod[o.method].Responses, "422")
	}
}

// tag returns the group of operations that one belongs to: the first part of its
// path below a log.
func (o *operation) tag() string {
	below, found := strings.CutPrefix(o.path, logPath+"/")
	if !found {
		return "log"
	}
	group, _, _ := strings.Cut(below, "/")
	return group
}

func (o *operation) allErrors() []int {
	all := slices.Clone(o.errors)
	if !slices.Contains(all, http.StatusServiceUnavailable) {
		all = append(all, http.StatusServiceUnavailable)
	}
	return append(all, http.StatusTooManyRequests, http.StatusInternalServerError)
}

// tailOperation describes Server.tail.
func tailOperation() *huma.Operation {
	responses := streamProblems()
	responses["200"] = response("Entries as they come: id is the index, data the entry",
		"text/event-stream", text("Server-Sent Events"))

	return &huma.Operation{
		OperationID: "tail-entries",
		Method:      http.MethodGet,
		Path:        logPath + "/tail",
		Summary:     "Follow the log",
		Tags:        []string{"tail"},
		Responses:   responses,
		Parameters: []*huma.Param{
			logParam(),
			queryParam("q", "A query.", text("")),
			queryParam("from", "The index to begin at. Defaults to new entries alone.", integer()),
			queryParam("lines", "Send the entries' exact bytes, as an export has them.", &schema{Type: huma.TypeBoolean}),
			{
				Name: "Last-Event-ID", In: "header",
				Schema: text("The index of the last entry that was seen; browsers send it by themselves."),
			},
		},
	}
}

// exportOperation describes Server.export.
func exportOperation() *huma.Operation {
	responses := streamProblems()
	responses["200"] = &huma.Response{
		Description: "Entries, oldest first; the trailer Attestlog-Size follows a stream that is whole",
		Content: map[string]*huma.MediaType{
			"application/x-ndjson": {Schema: text("One entry a line: docs/format.md, \"Lines\"")},
			"text/csv":             {Schema: text("RFC 4180, a first line of names")},
		},
	}

	return &huma.Operation{
		OperationID: "export-entries",
		Method:      http.MethodGet,
		Path:        logPath + "/export",
		Summary:     "All entries that a query selects, as a stream",
		Tags:        []string{"export"},
		Responses:   responses,
		Parameters: []*huma.Param{
			logParam(),
			queryParam("q", "A query.", text("")),
			queryParam("from", "The index to begin at: the one after the last whole line's of a stream that broke off.", integer()),
			queryParam("format", "Defaults to jsonl.", words("", "jsonl", "csv")),
			queryParam("fields", "Columns of csv, with commas between them.", text("")),
			queryParam("disclosures", "Whether sealed values go with the entries. Defaults to true.",
				&schema{Type: huma.TypeBoolean}),
		},
	}
}

func logParam() *huma.Param {
	return &huma.Param{Name: "log", In: "path", Required: true, Schema: text("")}
}

func queryParam(name, doc string, s *schema) *huma.Param {
	s.Description = doc
	return &huma.Param{Name: name, In: "query", Schema: s, Description: doc}
}

// streamProblems describes the problems that a request for a stream may be
// answered with.
func streamProblems() map[string]*huma.Response {
	problems := map[string]*huma.Response{}
	for _, code := range []int{400, 401, 403, 429, 500, 503} {
		problems[strconv.Itoa(code)] = response(http.StatusText(code), "application/problem+json", refTo("ErrorModel"))
	}
	return problems
}
