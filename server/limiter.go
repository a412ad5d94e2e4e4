package server

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// An address may try this many wrong tokens at once, and then one more each
	// time that wrongTokenEvery has passed.
	wrongTokenBurst = 20
	wrongTokenEvery = 6 * time.Second

	// rateSpan is the time within which a token may use its rate unevenly.
	rateSpan = 5 * time.Second

	// maxLimiters bounds the names that are counted at a time.
	maxLimiters = 10_000
)

// limiters bound how often each of many names may do something. They are safe
// for concurrent use.
type limiters struct {
	limit rate.Limit
	burst int

	mu     sync.Mutex
	byName map[string]*rate.Limiter
}

func newLimiters(limit rate.Limit, burst int) *limiters {
	return &limiters{limit: limit, burst: burst, byName: map[string]*rate.Limiter{}}
}

// of returns the limiter of a name.
func (l *limiters) of(name string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()

	limiter := l.byName[name]
	if limiter == nil {
		l.makeSpace()
		limiter = rate.NewLimiter(l.limit, l.burst)
		l.byName[name] = limiter
	}
	return limiter
}

// makeSpace forgets limiters if there are too many: first those that allow a
// whole burst again, which a new one does too, and if that is not enough all of
// them. l.mu is held.
func (l *limiters) makeSpace() {
	if len(l.byName) < maxLimiters {
		return
	}

	for name, limiter := range l.byName {
		if limiter.Tokens() >= float64(l.burst) {
			delete(l.byName, name)
		}
	}
	if len(l.byName) >= maxLimiters {
		clear(l.byName)
	}
}

// networkOf returns the name under which wrong tokens from an address are
// counted: the address, or for IPv6 its /64 network. One host has such a network
// to itself (RFC 4291, Section 2.5.4), and in it more addresses than it needs to
// guess from.
func networkOf(ip string) string {
	const hostNetwork = 64 // bits

	addr, err := netip.ParseAddr(ip)
	if err != nil || !addr.Is6() || addr.Is4In6() {
		return ip
	}
	network, err := addr.WithZone("").Prefix(hostNetwork)
	if err != nil {
		return ip
	}
	return network.String()
}
