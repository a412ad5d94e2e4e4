package server

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// A router knows its patterns, so that a test can try them all.
type router struct {
	http.ServeMux
	patterns []string
}

// HandleFunc adds a route, as http.ServeMux.HandleFunc does.
func (r *router) HandleFunc(pattern string, fn func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, fn)
}

// addRoutes adds all that the server answers.
func (s *Server) addRoutes() {
	s.addAPI()
	s.addIngest()
	s.addTiles()
	if s.signIn != nil {
		s.router.HandleFunc("GET /auth/login", s.signIn.login)
		s.router.HandleFunc("GET "+callbackPath, s.signIn.callback)
		s.router.HandleFunc("POST /auth/logout", s.signIn.logout)
	}

	s.router.HandleFunc("GET /healthz", s.healthz)
	s.router.HandleFunc("GET /readyz", s.readyz)
	s.router.HandleFunc("GET /metrics", s.figures)
	s.router.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, problem(http.StatusNotFound, "there is nothing here; /docs describes the API"))
	})
}

// addAPI adds the operations of the API, its streams, and its description.
func (s *Server) addAPI() {
	cfg := huma.DefaultConfig("attestlog", Version)
	cfg.Info.Description = "An audit log that can prove itself. " +
		"Every request shows a token of the log: Authorization: Bearer al_…"
	cfg.DocsPath = "" // ours is below
	cfg.SchemasPath = ""
	cfg.CreateHooks = nil
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	cfg.Security = []map[string][]string{{"token": {}}}

	api := humago.New(&s.router, cfg)
	addSchemas(api.OpenAPI().Components.Schemas)
	s.addOperations(api)

	// huma does not run these: their answers are streams.
	api.OpenAPI().AddOperation(tailOperation())
	s.router.HandleFunc("GET "+logPath+"/tail", s.tail)
	api.OpenAPI().AddOperation(exportOperation())
	s.router.HandleFunc("GET "+logPath+"/export", s.export)

	page := docsPage(api.OpenAPI())
	s.router.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
}

// addIngest adds the endpoints for the records of other programs.
func (s *Server) addIngest() {
	for path, src := range sources {
		s.router.HandleFunc("POST /ingest/{log}/"+path, s.ingest(src, logByName))
	}

	// Exporters of OTLP send here if they are told nothing but the server's name.
	for _, path := range []string{"v1/logs", "v1/audit"} {
		s.router.HandleFunc("POST /"+path, s.ingest(sources[path], s.firstLog))
	}
}

// addTiles adds the logs as c2sp.org/tlog-tiles, and the endpoint that load
// generators of such logs add entries with.
func (s *Server) addTiles() {
	s.router.HandleFunc("GET /checkpoint", atCheckpoint(s.tiles(s.firstLog)))
	s.router.HandleFunc("GET /tile/{tile...}", atTile(s.tiles(s.firstLog)))
	s.router.HandleFunc("GET /tiles/{log}/checkpoint", atCheckpoint(s.tiles(logByName)))
	s.router.HandleFunc("GET /tiles/{log}/tile/{tile...}", atTile(s.tiles(logByName)))
	s.router.HandleFunc("POST /add", s.appendOriginal)
}

// logByName returns the name of the log that a path has.
func logByName(r *http.Request) string { return r.PathValue("log") }

// firstLog returns the name of the default log.
func (s *Server) firstLog(*http.Request) string { return s.first.name }

// atCheckpoint gives next the path value "tile" of the checkpoint, which the
// pattern does not have.
func atCheckpoint(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.SetPathValue("tile", checkpointPath)
		next(w, r)
	}
}

// atTile gives next the path value "tile" with the beginning that the pattern has
// cut off.
func atTile(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.SetPathValue("tile", "tile/"+r.PathValue("tile"))
		next(w, r)
	}
}
