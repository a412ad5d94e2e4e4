package audithttp

import (
	"strings"

	"github.com/attestlog/attestlog"
)

// TraceOf reads a traceparent (W3C Trace Context, Section 3.2), such as
// "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01". It returns the zero
// Trace if that is invalid.
func TraceOf(header string) attestlog.Trace {
	const size = len("00-") + 32 + len("-") + 16 + len("-00")
	if len(header) < size {
		return attestlog.Trace{}
	}
	hasDashes := header[2] == '-' && header[35] == '-' && header[52] == '-'
	if !hasDashes {
		return attestlog.Trace{}
	}

	// Later versions may append more. Version ff is not allowed.
	version := header[:2]
	if version == "ff" || version == "00" && len(header) != size {
		return attestlog.Trace{}
	}

	trace := header[3:35]
	span := header[36:52]
	if !isID(trace) || !isID(span) {
		return attestlog.Trace{}
	}
	return attestlog.Trace{TraceID: trace, SpanID: span}
}

// isID reports whether an id is in lower-case hex, and not all zeroes.
func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		isDigit := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if !isDigit {
			return false
		}
	}
	return strings.Trim(s, "0") != ""
}
