package audithttp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
)

// A printer prints events where a program would have its *attestlog.Log.
type printer struct{}

func (printer) Record(_ context.Context, e attestlog.Event) error {
	fmt.Println(e.Actor.ID, e.Action, e.Operation, e.Outcome, e.Reason)
	fmt.Println(e.Request.Method, e.Request.Path, e.Request.Route, e.Request.Status)
	fmt.Println(e.Targets)
	return nil
}

func Example() {
	audit, err := audithttp.New(printer{}, audithttp.Config{
		Actor: func(r *http.Request) attestlog.Actor {
			user, _, _ := r.BasicAuth() // which authentication has checked
			return attestlog.Actor{ID: user}
		},
	})
	if err != nil {
		panic(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("DELETE /mail/{id}", func(w http.ResponseWriter, r *http.Request) {
		audithttp.AddTargets(r.Context(), attestlog.Target{Type: "mail", ID: r.PathValue("id")})
		http.Error(w, "it must be kept for another year", http.StatusForbidden)
	})
	handler := audit(mux)

	r := httptest.NewRequest("DELETE", "/mail/7", nil)
	r.SetBasicAuth("alice", "secret")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// alice http.delete delete failure Forbidden
	// DELETE /mail/7 DELETE /mail/{id} 403
	// [{7 mail }]
}
