//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// userTimeout sets nothing here: only Linux has TCP_USER_TIMEOUT.
func userTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
