package audithttp

import (
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
)

const (
	forwardedFor = "X-Forwarded-For"
	forwarded    = "Forwarded" // RFC 7239
)

// ClientAddress returns the address that a request came from. remote is the
// address of the connection, hops are the values of header, which is
// "X-Forwarded-For" or "Forwarded". If remote is not an IP address, as over a
// Unix socket, ClientAddress returns it as host.
//
// Each trusted proxy appends the address of its own client. So the last address
// is genuine if the connection comes from a trusted proxy, the one before it if
// the last is that of a trusted proxy, and so on. Anything before the first
// address that is not trusted may have been written by the client.
func ClientAddress(remote string, hops []string, trusted []netip.Prefix, header string) (ip, host string) {
	client, ok := parseAddress(remote)
	if !ok {
		return "", remote
	}

	if len(trusted) == 0 || !isTrusted(client, trusted) {
		// An IPv4 address in four numbers is in its only form already.
		text, _, hasPort := strings.Cut(remote, ":")
		isDotted := strings.Contains(text, ".") && text[0] != '['
		if client.Is4() && hasPort && isDotted {
			return text, ""
		}
		return client.String(), ""
	}

	for hop := range nearestFirst(hops, header) {
		if header == forwarded {
			hop = forParameter(hop)
		}
		addr, ok := parseAddress(hop)
		if !ok {
			break // a proxy hides its client
		}
		client = addr
		if !isTrusted(client, trusted) {
			break
		}
	}
	return client.String(), ""
}

// nearestFirst yields the elements of a header's values, except empty ones, from
// the last on.
func nearestFirst(values []string, header string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, list := range slices.Backward(values) {
			for list != "" {
				var element string
				list, element = cutLast(list, header == forwarded)
				if element != "" && !yield(element) {
					return
				}
			}
		}
	}
}

// cutLast cuts the last element off a list. If quotes is set, as for Forwarded, a
// comma in quotes separates nothing. cutLast reads from the end: what the nearest
// proxy appended is well-formed, so a quote that a client left open cannot hide
// any of it.
func cutLast(list string, quotes bool) (rest, last string) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch list[i] {
		case '"':
			isText := quoted && isEscaped(list[:i])
			if quotes && !isText {
				quoted = !quoted
			}
		case ',':
			if !quoted {
				return list[:i], strings.TrimSpace(list[i+1:])
			}
		}
	}
	return "", strings.TrimSpace(list)
}

// isEscaped reports whether the text before a character ends in a backslash that
// is not itself escaped.
func isEscaped(before string) bool {
	backslashes := len(before) - len(strings.TrimRight(before, `\`))
	return backslashes%2 == 1
}

// forParameter returns the address in an element of Forwarded (RFC 7239, Section
// 4), without quotes. It returns "" without one, or if a quote has no end.
func forParameter(element string) string {
	address := ""
	for element != "" {
		pair, rest, ok := cutPair(element)
		if !ok {
			return ""
		}
		element = rest

		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		isFor := ok && strings.EqualFold(strings.TrimSpace(name), "for")
		if isFor && address == "" {
			address = unquote(strings.TrimSpace(value))
		}
	}
	return address
}

// cutPair cuts the first parameter off an element, which ends at a semicolon
// outside of quotes. It reports whether each quote is closed.
func cutPair(element string) (pair, rest string, ok bool) {
	quoted := false
	for i := 0; i < len(element); i++ {
		switch c := element[i]; {
		case c == '\\' && quoted:
			i++ // the next character is text
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			return element[:i], element[i+1:], true
		}
	}
	return element, "", !quoted
}

func unquote(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

// parseAddress reads an IP address with or without a port. An IPv6 address may be
// in brackets.
func parseAddress(text string) (netip.Addr, bool) {
	host, _, err := net.SplitHostPort(text)
	if err == nil {
		text = host
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	addr, err := netip.ParseAddr(text)
	return addr.Unmap().WithZone(""), err == nil
}

// isTrusted reports whether an address is in one of the networks. A network of
// IPv4 may be written as one of IPv6, ::ffff:10.0.0.0/104.
func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool {
		if p.Contains(addr) {
			return true
		}
		return addr.Is4() && p.Addr().Is4In6() && p.Contains(netip.AddrFrom16(addr.As16()))
	})
}
