//go:build !linux

package bench

import "time"

// threadCPU is known only on Linux.
func threadCPU() time.Duration { return 0 }
