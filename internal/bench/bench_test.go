package bench

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// newBench returns a run on SQLite, or on the PostgreSQL database whose DSN is
// in ATTESTLOG_BENCH_DSN.
func newBench(b *testing.B) *bench {
	ctx := context.Background()
	r := &bench{ctx: ctx, opts: Options{Writers: 2, Batch: 5000}, backend: sqliteFiles{b.TempDir()}}
	if dsn := os.Getenv("ATTESTLOG_BENCH_DSN"); dsn != "" {
		s, err := connect(ctx, dsn, b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		r.backend = s
	}
	b.Cleanup(func() { r.backend.close() })
	return r
}

// BenchmarkBulk appends in bulk until all is durable and indexed; profile it
// with -cpuprofile.
func BenchmarkBulk(b *testing.B) { bulk(b, false) }

// BenchmarkBulkSealed is BenchmarkBulk with the three default seals.
func BenchmarkBulkSealed(b *testing.B) { bulk(b, true) }

func bulk(b *testing.B, sealed bool) {
	r := newBench(b)
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
