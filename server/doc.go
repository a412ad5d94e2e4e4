// Package server makes logs a service: an HTTP API, endpoints that take the
// records of other programs, a live tail, the tiles of c2sp.org/tlog-tiles, and
// figures for Prometheus.
//
//	store, err := sqlite.Open(ctx, "audit.db", sqlite.Config{})
//	log, err := attestlog.New(ctx, store, attestlog.Config{})
//	srv, err := server.New(server.Config{Logs: []server.Log{{Name: "default", Log: log, Tokens: store}}})
//	http.ListenAndServe("127.0.0.1:8450", srv)
//
// Every request shows a token of the log (see CreateToken) or the cookie of a
// person who signed in, except for those for health, for signing in and for the
// API's description. /openapi.json describes the API. A request
// that stores events is answered once they are durable; searching, following,
// exporting and verifying a log are recorded in it.
//
// # A request's walk through the files
//
// Server.ServeHTTP (server.go) gives each request an id, finds out the client's
// address (request.go) and sets the headers that every answer has. The router
// (routes.go) calls the handler. Most handlers are operations of the API, listed
// in operations.go; huma parses their parameters and writes their answers.
//
// The handler first calls Server.enter (access.go). It looks the bearer's token
// up (keyring.go, token.go) or reads the cookie of somebody who has signed in
// (signin.go, oidc.go, cookie.go), counts wrong tokens and requests (limiter.go),
// and returns a visit: the log, and what may be seen and written in it. Before a
// handler gives entries out it records the look in the log (look.go). An error
// of the log becomes an answer in Server.problemOf (problem.go).
//
// The handlers, by their subject:
//
//   - entries: append.go, entries.go, facets.go, histogram.go, export.go, and
//     tail.go with the hub that reads a log once for all its tails, hub.go
//   - records of other programs: ingest.go with its formats ingest_json.go and
//     ingest_otlp.go, and syslog.go, whose connections are not HTTP
//   - proofs: checkpoint.go, prove.go, tiles.go, verify.go
//   - the server itself: info.go, health.go, metrics.go, docs.go
//
// Next to the requests run goroutines that the lifecycle (lifecycle.go) ends:
// the watcher of each log (watch.go), whose alarms (alarm.go) go to the log and
// to the webhook (webhook.go); the publisher that asks witnesses (checkpoint.go);
// verifications; hubs.
//
// # Adding a route
//
// A route with JSON in and out is a method of Server that takes and returns
// structs, and an operation in operations.go. A stream is an http.HandlerFunc
// in routes.go, described in operations.go. A format of other programs is a
// source in ingest.go. A page is an http.HandlerFunc in routes.go, as that of
// docsPage. Each needs its line in the table of routes_test.go, which then tries
// it without a token, with wrong ones and with each scope.
package server
