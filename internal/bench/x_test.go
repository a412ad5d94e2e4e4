package bench

import (
	"context"
	"syscall"
	"testing"
	"time"
)

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBulk appends in bulk until all is durable and indexed; profile it
// with -cpuprofile.
func BenchmarkBulk(b *testing.B) { bulk(b, false) }

// BenchmarkBulkSealed is BenchmarkBulk with the three default seals.
func BenchmarkBulkSealed(b *testing.B) { bulk(b, true) }

func bulk(b *testing.B, sealed bool) {
	r := &bench{ctx: context.Background(), opts: Options{Writers: 2, Batch: 5000}, backend: sqliteFiles{b.TempDir()}}
	l, _, err := r.log("bulk")
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	before := cpu()
	if _, err := r.fill(l, b.N, sealed); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	if err := l.Close(r.ctx); err != nil {
		b.Fatal(err)
	}
}
