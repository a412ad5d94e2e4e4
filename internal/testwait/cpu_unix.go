//go:build unix

package testwait

import (
	"syscall"
	"time"
)

// CPUTime returns how long processors have worked for this process. Unlike the
// time that passes, it does not depend on what else the machine is doing, so a
// test may bound it.
func CPUTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
