package postgres

import (
	"net"
	"time"
)

// dialer connects so that a network which loses everything is noticed within
// about d, whatever is waited for: data that nobody acknowledges by
// TCP_USER_TIMEOUT, where there is that, and an answer by keepalive probes.
// Without them that takes a quarter of an hour, and two minutes.
func dialer(d time.Duration) *net.Dialer {
	const probes = 3
	every := max(d/(probes+1), time.Second)
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: every, Interval: every, Count: probes},
		Control:         userTimeout(d),
	}
}
