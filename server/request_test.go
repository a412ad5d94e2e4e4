package server

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestTheStatusOfAnAnswerIsKnown(t *testing.T) {
	for name, test := range map[string]struct {
		write func(http.ResponseWriter)
		want  int
	}{
		"nothing":      {func(http.ResponseWriter) {}, 0},
		"a status":     {func(w http.ResponseWriter) { w.WriteHeader(404); w.Write([]byte("x")) }, 404},
		"a hint":       {func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(403) }, 403},
		"bytes":        {func(w http.ResponseWriter) { w.Write([]byte("x")) }, 200},
		"text":         {func(w http.ResponseWriter) { io.WriteString(w, "x") }, 200},
		"a copy":       {func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("x")) }, 200},
		"its headers":  {func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, 200},
		"by a control": {func(w http.ResponseWriter) { http.NewResponseController(w).Flush() }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var got int
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w, status := keepStatus(w)
				test.write(w)
				got = *status
			}))
			defer server.Close()

			resp, err := http.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body) // which ends once the handler has
			resp.Body.Close()
			if got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
		})
	}
}

// bare returns a server that has nothing but one handler.
func bare(t *testing.T, handler http.HandlerFunc) (s *Server, url string) {
	s = &Server{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	s.cfg.setDefaults()
	s.metrics = newMetrics(s.cfg.Registry)
	s.cfg.Registry.MustRegister(s.metrics.requests)
	s.router.HandleFunc("GET /", handler)

	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	return s, listening.URL
}

// A client must not take the beginning of an answer for the whole, nor a problem
// for a part of it.
func TestAPanicAfterTheHeadersWereSentClosesTheConnection(t *testing.T) {
	_, url := bare(t, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).Flush()
		panic("in the middle")
	})

	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != io.ErrUnexpectedEOF || len(body) > 0 {
		t.Errorf("the body is %q, %v; want none, %v", body, err, io.ErrUnexpectedEOF)
	}
}

func TestAPanicBeforeIsAProblem(t *testing.T) {
	_, url := bare(t, func(http.ResponseWriter, *http.Request) { panic("at once") })

	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 500 || got != "application/problem+json" {
		t.Errorf("a panic is answered with %d %s, want 500 application/problem+json", resp.StatusCode, got)
	}
}

// net/http sends 200 where a handler writes nothing, as for HEAD.
func TestAnAnswerWithoutABodyCountsAs200(t *testing.T) {
	s, url := bare(t, func(http.ResponseWriter, *http.Request) {})

	resp, err := http.Head(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	families, err := s.cfg.Registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d families of figures, %v", len(families), err)
	}
	var labels []string
	for _, label := range families[0].Metric[0].Label {
		labels = append(labels, label.GetName()+"="+label.GetValue())
	}
	want := []string{"method=HEAD", "route=GET /", "status=200"}
	if !slices.Equal(labels, want) {
		t.Errorf("the request is counted as %q, want %q", labels, want)
	}
}
