package examples

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/internal/sqlitetest"
)

// Each router is an http.Handler, so the middleware goes in front of it. The
// router's own middleware only tells which pattern matched.

// ginRoute is a middleware of gin's.
func ginRoute(c *gin.Context) {
	c.Next()
	audithttp.Edit(c.Request.Context(), func(e *attestlog.Event) { e.Request.Route = c.FullPath() })
}

// echoRoute is a middleware of echo's.
func echoRoute(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		audithttp.Edit(c.Request().Context(), func(e *attestlog.Event) { e.Request.Route = c.Path() })
		return err
	}
}

func TestAdapters(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	target := func(r *http.Request, id string) {
		audithttp.AddTargets(r.Context(), attestlog.Target{Type: "mail", ID: id})
	}

	withGin := gin.New()
	withGin.Use(ginRoute)
	withGin.DELETE("/mail/:id", func(c *gin.Context) { target(c.Request, c.Param("id")); c.Status(http.StatusNoContent) })

	withEcho := echo.New()
	withEcho.Use(echoRoute)
	withEcho.DELETE("/mail/:id", func(c echo.Context) error {
		target(c.Request(), c.Param("id"))
		return c.NoContent(http.StatusNoContent)
	})

	withChi := chi.NewRouter()
	withChi.Delete("/mail/{id}", func(w http.ResponseWriter, r *http.Request) {
		target(r, chi.URLParam(r, "id"))
		w.WriteHeader(http.StatusNoContent)
	})

	for _, test := range []struct {
		name, route string
		router      http.Handler
		cfg         audithttp.Config
	}{
		{"gin", "/mail/:id", withGin, audithttp.Config{}},
		{"echo", "/mail/:id", withEcho, audithttp.Config{}},
		// chi knows the pattern from the request's context, if that has its place
		// for it before: as a middleware of chi's own, router.Use(audit), it does.
		{"chi", "/mail/{id}", nil, audithttp.Config{Route: func(r *http.Request) string { return chi.RouteContext(r.Context()).RoutePattern() }}},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := sqlitetest.Log(t, attestlog.Config{})
			audit, err := audithttp.New(log, test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			handler := test.router
			if handler == nil {
				router := chi.NewRouter()
				router.Use(audit)
				router.Mount("/", withChi)
				handler = router
			} else {
				handler = audit(handler)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("DELETE", "/mail/7", nil))
			if err := log.Flush(t.Context()); err != nil || w.Code != http.StatusNoContent {
				t.Fatalf("status %d, Flush = %v", w.Code, err)
			}
			e, err := log.Entry(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			e.Request.DurationUS = 0
			want := attestlog.Request{Method: "DELETE", Path: "/mail/7", Route: test.route, Status: 204}
			if diff := cmp.Diff(want, e.Request); diff != "" || len(e.Targets) != 1 || e.Targets[0].ID != "7" {
				t.Errorf("targets %v, request (-want +got):\n%s", e.Targets, diff)
			}
		})
	}
}
