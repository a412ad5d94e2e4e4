package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadCPU returns the processor time of the calling thread, to the
// nanosecond: what getrusage returns is as of the last tick, which is up to
// 10 ms ago.
func threadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
