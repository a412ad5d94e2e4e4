package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Version is that of the API.
const Version = "1.0.0"

const logPath = "/api/v1/logs/{log}"

// A router knows its routes, so that a test can try them all.
type router struct {
	http.ServeMux
	patterns []string
}

func (r *router) HandleFunc(pattern string, fn func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, fn)
}

// routes puts all handlers in their places.
func (s *Server) routes() {
	s.describe()
	byName := func(r *http.Request) string { return r.PathValue("log") }
	first := func(*http.Request) string { return s.first.name }
	for name, src := range sources {
		s.mux.HandleFunc("POST /ingest/{log}/"+name, s.ingest(src, byName))
	}
	for _, name := range []string{"v1/logs", "v1/audit"} { // where exporters send without being told
		s.mux.HandleFunc("POST /"+name, s.ingest(sources[name], first))
	}
	checkpoint := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			r.SetPathValue("tile", "checkpoint")
			next(w, r)
		}
	}
	tile := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			r.SetPathValue("tile", "tile/"+r.PathValue("tile"))
			next(w, r)
		}
	}
	s.mux.HandleFunc("GET /checkpoint", checkpoint(s.tiles(first)))
	s.mux.HandleFunc("GET /tile/{tile...}", tile(s.tiles(first)))
	s.mux.HandleFunc("GET /tiles/{log}/checkpoint", checkpoint(s.tiles(byName)))
	s.mux.HandleFunc("GET /tiles/{log}/tile/{tile...}", tile(s.tiles(byName)))
	s.mux.HandleFunc("POST /add", s.add)
	if s.people != nil {
		s.people.routes(&s.mux)
	}
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /metrics", s.figures)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, problem(http.StatusNotFound, "there is nothing here; /docs describes the API"))
	})
}

// describe registers the API with its description.
func (s *Server) describe() {
	cfg := huma.DefaultConfig("attestlog", Version)
	cfg.Info.Description = "An audit log that can prove itself. Every request shows a token of the log: Authorization: Bearer al_…"
	cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", nil
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	cfg.Security = []map[string][]string{{"token": {}}}
	api := humago.New(&s.mux, cfg)
	defineSchemas(api.OpenAPI().Components.Schemas)
	const read = http.MethodGet
	register(s, api, op{"list-logs", read, "/api/v1/logs", "The logs that the token is good for", 200, []int{401, 403}}, s.list)
	register(s, api, op{"get-log", read, logPath, "A log's figures", 200, []int{401, 403}}, s.info)
	o := op{"append-entries", http.MethodPost, logPath + "/entries", "Store events, all or none, durably", 201, []int{400, 401, 403, 409, 413, 415, 422, 503}}
	register(s, api, o, s.append)
	register(s, api, op{"query-entries", read, logPath + "/entries", "A page of entries, newest first", 200, []int{304, 400, 401, 403, 422}}, s.query)
	register(s, api, op{"get-entry", read, logPath + "/entries/{index}", "One entry", 200, []int{401, 403, 404, 422}}, s.entry)
	register(s, api, op{"get-entry-by-id", read, logPath + "/entry", "The entry with an id", 200, []int{401, 403, 404, 422}}, s.entryByID)
	register(s, api, op{"count-entries", read, logPath + "/count", "How many entries a query selects", 200, []int{400, 401, 403, 422}}, s.count)
	register(s, api, op{"get-facets", read, logPath + "/facets", "The most frequent values of a field", 200, []int{400, 401, 403, 422}}, s.facets)
	register(s, api, op{"get-histogram", read, logPath + "/histogram", "Entries over time", 200, []int{400, 401, 403, 422}}, s.histogram)
	register(s, api, op{"get-checkpoint", read, logPath + "/checkpoint", "The newest signed checkpoint (c2sp.org/tlog-checkpoint)", 200, []int{401, 403}}, s.checkpoint)
	register(s, api, op{"publish-checkpoint", http.MethodPost, logPath + "/checkpoint", "A signed checkpoint over all that was acknowledged", 200, []int{401, 403, 503}}, s.publish)
	register(s, api, op{"prove-inclusion", read, logPath + "/proofs/{index}", "A proof of one entry (c2sp.org/tlog-proof)", 200, []int{401, 403, 404, 422}}, s.inclusion)
	register(s, api, op{"prove-consistency", read, logPath + "/consistency", "A proof that one tree is the beginning of another", 200, []int{401, 403, 404, 422}}, s.consistency)
	register(s, api, op{"start-verification", http.MethodPost, logPath + "/verifications", "Verify the whole log", 202, []int{401, 403, 409, 422}}, s.verify)
	register(s, api, op{"get-verification", read, logPath + "/verifications/{id}", "A verification's progress and result", 200, []int{401, 403, 404}}, s.verification)
	s.describeStreams(api)
	doc := docsPage(api.OpenAPI())
	s.mux.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(doc)
	})
}

type op struct {
	id, method, path, summary string
	status                    int
	errors                    []int
}

// register adds one operation. Requests are not validated by schema where the
// log's own rules do it better.
func register[I, O any](s *Server, api huma.API, o op, fn func(context.Context, *I) (*O, error)) {
	tag := "log"
	if i := strings.LastIndex(o.path, "/"); o.path != logPath && i >= 0 {
		tag = strings.Split(strings.TrimPrefix(o.path, logPath+"/"), "/")[0]
	}
	errors := o.errors
	if !slices.Contains(errors, 503) {
		errors = append(errors[:len(errors):len(errors)], 503)
	}
	operation := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, DefaultStatus: o.status, Errors: append(errors, 429, 500),
		Tags: []string{tag}, MaxBodyBytes: s.cfg.MaxBody, BodyReadTimeout: bodyWait, SkipValidateBody: true,
	}
	if o.id == "append-entries" {
		operation.Middlewares = huma.Middlewares{s.enterFirst(ScopeAppend)}
	}
	operation.Responses = responsesOf(o)
	huma.Register(api, operation, fn)
	if !slices.Contains(o.errors, http.StatusUnprocessableEntity) { // which huma adds where there is any parameter
		item := api.OpenAPI().Paths[o.path]
		delete(map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post}[o.method].Responses, "422")
	}
}
