//go:build !linux

package bench

import "time"

// threadCPU returns 0: it is known only on Linux.
func threadCPU() time.Duration { return 0 }
