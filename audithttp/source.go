package audithttp

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/attestlog/attestlog"
)

const (
	forwardedFor = "X-Forwarded-For"
	forwarded    = "Forwarded" // RFC 7239
)

// clientAddress returns the address that a request came from.
func clientAddress(r *http.Request, trusted []netip.Prefix, header string) (ip, host string) {
	return ClientAddress(r.RemoteAddr, r.Header[header], trusted, header)
}

// ClientAddress returns the address that a request over a connection from remote
// came from, or where that is not an IP address, as over a Unix socket, its text
// as a host. hops are the values of header, "X-Forwarded-For" or "Forwarded".
//
// Each trusted proxy appends the address that it was called from. So the last
// one is genuine if the connection comes from a trusted proxy, the one before
// if the last is that of a trusted proxy, and so on. Whatever stands before the
// first address that is not trusted was written by the client.
func ClientAddress(remote string, hops []string, trusted []netip.Prefix, header string) (ip, host string) {
	peer, ok := addressOf(remote)
	if !ok {
		return "", remote
	}
	if len(trusted) == 0 || !isTrusted(peer, trusted) {
		if text, _, found := strings.Cut(remote, ":"); found && peer.Is4() && text != "" && text[0] != '[' {
			return text, "" // as it stands, which is its only form
		}
		return peer.String(), ""
	}
	for i := len(hops) - 1; i >= 0; i-- {
		rest := hops[i]
		for rest != "" {
			var hop string
			if rest, hop = cutLast(rest, header == forwarded); hop == "" {
				continue
			}
			if header == forwarded {
				hop = forParameter(hop)
			}
			addr, ok := addressOf(hop)
			if !ok {
				return peer.String(), "" // what stands before is behind a stranger
			}
			if peer = addr; !isTrusted(peer, trusted) {
				return peer.String(), ""
			}
		}
	}
	return peer.String(), ""
}

// cutLast cuts the last element off a list. It reads from the end, where what the
// nearest proxy appended is well-formed, so that a quote which a client left open
// swallows none of it. Commas stand in quotes in Forwarded alone.
func cutLast(list string, quotes bool) (rest, last string) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch c := list[i]; {
		case c == '"' && quotes && !(quoted && escaped(list[:i])):
			quoted = !quoted
		case c == ',' && !quoted:
			return list[:i], strings.TrimSpace(list[i+1:])
		}
	}
	return "", strings.TrimSpace(list)
}

// escaped reports whether what follows a text stands behind a backslash that is
// not itself escaped.
func escaped(before string) bool {
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// forParameter returns the address in an element of Forwarded (RFC 7239, Section
// 4), without quotes, and nothing if a quote is left open.
func forParameter(element string) (address string) {
	for element != "" {
		var pair string
		quoted, end := false, len(element)
		for i := 0; i < len(element); i++ {
			if c := element[i]; c == '\\' && quoted {
				i++
			} else if c == '"' {
				quoted = !quoted
			} else if c == ';' && !quoted {
				end = i
				break
			}
		}
		if quoted {
			return ""
		}
		pair, element = element[:end], strings.TrimPrefix(element[end:], ";")
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if ok && address == "" && strings.EqualFold(strings.TrimSpace(name), "for") {
			address = strings.TrimSpace(value)
			if len(address) >= 2 && address[0] == '"' && address[len(address)-1] == '"' {
				address = address[1 : len(address)-1]
			}
		}
	}
	return address
}

// addressOf reads an address, with or without a port, an IPv6 one in brackets
// or bare.
func addressOf(text string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	addr, err := netip.ParseAddr(text)
	return addr.Unmap().WithZone(""), err == nil
}

// isTrusted looks for an address in networks; one of IPv4 may be written as IPv6
// has it, ::ffff:10.0.0.0/104.
func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool {
		return p.Contains(addr) || addr.Is4() && p.Addr().Is4In6() && p.Contains(netip.AddrFrom16(addr.As16()))
	})
}

// TraceOf reads a traceparent (W3C Trace Context, Section 3.2), and returns
// nothing for one that is invalid.
func TraceOf(header string) attestlog.Trace {
	const size = len("00-") + 32 + 1 + 16 + len("-00")
	if len(header) < size || header[2] != '-' || header[35] != '-' || header[52] != '-' || header[:2] == "ff" ||
		header[:2] == "00" && len(header) != size {
		return attestlog.Trace{}
	}
	trace, span := header[3:35], header[36:52]
	if !isHex(trace) || !isHex(span) || strings.Trim(trace, "0") == "" || strings.Trim(span, "0") == "" {
		return attestlog.Trace{}
	}
	return attestlog.Trace{TraceID: trace, SpanID: span}
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
