package bench

import (
	"testing"

	"github.com/attestlog/attestlog/verify"
)

// BenchmarkVerify verifies a log of 200,000 entries; one operation is one
// entry.
func BenchmarkVerify(b *testing.B) { verifyOf(b, verify.Options{}) }

// BenchmarkVerifyIndex compares the search index too.
func BenchmarkVerifyIndex(b *testing.B) { verifyOf(b, verify.Options{Index: true}) }

func verifyOf(b *testing.B, opts verify.Options) {
	const n = 200_000
	r := newBench(b)
	l, _, err := r.log("verify")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := r.fill(l, n, false); err != nil {
		b.Fatal(err)
	}
	if _, err := l.Publish(r.ctx); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	before := cpu()
	for done := 0; done < b.N; done += n {
		if _, err := verify.Log(r.ctx, l, opts); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	if err := l.Close(r.ctx); err != nil {
		b.Fatal(err)
	}
}
