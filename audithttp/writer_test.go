package audithttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/internal/sqlitetest"
)

func TestWhatAHandlerDoesWithItsWriterWorks(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			l := sqlitetest.Log(t, attestlog.Config{})
			proceed := make(chan struct{})
			mux := http.NewServeMux()
			mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "first")
				w.(http.Flusher).Flush()
				<-proceed
				io.WriteString(w, "second")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Errorf("ResponseController.Flush = %v", err)
				}
			})
			mux.HandleFunc("/deadline", func(w http.ResponseWriter, _ *http.Request) {
				if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Errorf("SetWriteDeadline = %v", err)
				}
				if _, ok := w.(io.ReaderFrom); ok == http2 {
					t.Errorf("the writer is an io.ReaderFrom: %v", ok)
				}
				if _, ok := w.(http.Hijacker); ok == http2 {
					t.Errorf("the writer is an http.Hijacker: %v", ok)
				}
				io.Copy(w, strings.NewReader("copied"))
			})
			srv := httptest.NewUnstartedServer(middleware(t, l, audithttp.Config{})(mux))
			srv.EnableHTTP2 = http2
			if http2 {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			resp, err := srv.Client().Post(srv.URL+"/stream", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 5)
			if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
				t.Errorf("before the handler goes on, %q, %v came", first, err)
			}
			close(proceed)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "second" {
				t.Errorf("then %q, %v came", rest, err)
			}
			resp.Body.Close()
			do(t, srv.Client(), "POST", srv.URL+"/deadline")
			if all := entries(t, l); len(all) != 2 || all[0].Request.Status != 200 || all[1].Outcome != attestlog.Success {
				t.Errorf("entries = %+v", all)
			}
		})
	}
}

func TestAHijackedConnectionIsRecordedOnce(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	recorded := make(chan struct{})
	h := middleware(t, l, audithttp.Config{Record: func(*http.Request) bool { return true }})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack = %v", err)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello")
		rw.Flush()
	}))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		close(recorded)
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: x\r\n\r\n")
	if text, err := io.ReadAll(bufio.NewReader(conn)); err != nil || !strings.HasSuffix(string(text), "hello") {
		t.Errorf("the client read %q, %v", text, err)
	}
	<-recorded
	if all := entries(t, l); len(all) != 1 || all[0].Request.Status != 101 || all[0].Outcome != attestlog.Success {
		t.Errorf("entries = %+v, want one with status 101", all)
	}
}
