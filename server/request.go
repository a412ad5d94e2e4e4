package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/felixge/httpsnoop"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
)

// maxUserAgent bounds the bytes that are recorded of a User-Agent.
const maxUserAgent = 512

// A request has the facts about an HTTP request that ServeHTTP finds out, for the
// handlers.
type request struct {
	id     string
	bearer string // the token that it shows, not looked at yet; may be empty
	from   attestlog.Source
	http   *http.Request

	// visit is set if enterFirst let the request in with scope.
	visit *visit
	scope string
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

func (s *Server) newRequest(r *http.Request) *request {
	// Not realclientip-go: its strategies look at the header alone, so a client that
	// connects directly could claim any address; and they return no address at all
	// if every hop is trusted, or if one cannot be read. Config.TrustedProxies means
	// the same here as in audithttp, which compiles the standard library alone.
	hops := r.Header.Values(s.cfg.ProxyHeader)
	ip, host := audithttp.ClientAddress(r.RemoteAddr, hops, s.cfg.TrustedProxies, s.cfg.ProxyHeader)

	return &request{
		id:     requestID(r.Header.Get("X-Request-Id")),
		bearer: bearer(r),
		from:   attestlog.Source{IP: ip, Host: host, UserAgent: cutText(r.UserAgent(), maxUserAgent)},
		http:   r,
	}
}

// bearer returns the token of an Authorization header (RFC 6750, Section 2.1).
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

var proxyRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// requestID returns the id that a proxy gave a request if it can be written to
// a log as it is, and a new one if not.
func requestID(given string) string {
	if proxyRequestID.MatchString(given) {
		return given
	}
	return newID()
}

func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// cutText returns valid UTF-8 made of the first n bytes of s.
func cutText(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// keepStatus returns w with the status of the answer that is written to it: 0
// as long as nothing is sent.
func keepStatus(w http.ResponseWriter) (http.ResponseWriter, *int) {
	status := new(int)
	sent := func(code int) {
		// A status below 200 announces another one.
		if *status == 0 && code >= http.StatusOK {
			*status = code
		}
	}

	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(code int) {
				sent(code)
				next(code)
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(b []byte) (int, error) {
				sent(http.StatusOK)
				return next(b)
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(r io.Reader) (int64, error) {
				sent(http.StatusOK)
				return next(r)
			}
		},
		Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc {
			return func() {
				sent(http.StatusOK)
				next()
			}
		},
	}), status
}
