package attestlog

import (
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
)

var benchEvent = Event{
	Tenant:    "tenant-0001",
	Service:   "webmail",
	Action:    "mail.view",
	Operation: "read",
	Outcome:   Success,
	Actor:     Actor{ID: "user-000123", Type: "user"},
	Targets:   []Target{{ID: "00001234", Type: "message"}},
	Changes:   []Change{{Op: "replace", Old: "inbox", New: "ar"}},
	Request:   Request{DurationUS: 1234},
}

func BenchmarkEncode(b *testing.B) {
	set, err := newSealSet(DefaultSealed)
	if err != nil {
		b.Fatal(err)
	}
	enc := &encoder{set}
	now := time.Now()

	b.ReportAllocs()
	for b.Loop() {
		if err := enc.check(benchEvent, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTerms(b *testing.B) {
	enc := &encoder{sealSet{}}
	e := benchEvent
	d, err := enc.encode(new(scratch), &e, time.Now())
	if err != nil {
		b.Fatal(err)
	}

	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := Terms(d.leaf(), nil, func(string, []byte) { n++ }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseLeaf(b *testing.B) {
	enc := &encoder{sealSet{}}
	e := benchEvent
	now := time.Now()
	d, err := enc.encode(new(scratch), &e, now)
	if err != nil {
		b.Fatal(err)
	}
	d.finish(canon.AppendTime(nil, now, loggedDigits))

	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseLeaf(d.leaf()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeSealed(b *testing.B) {
	set, err := newSealSet(DefaultSealed)
	if err != nil {
		b.Fatal(err)
	}
	enc := &encoder{set}

	sealed := benchEvent
	sealed.Actor.Name = "Benchmark User"
	sealed.Source = Source{
		IP:        "10.1.2.3",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
	}
	now := time.Now()

	b.ReportAllocs()
	for b.Loop() {
		if err := enc.check(sealed, now); err != nil {
			b.Fatal(err)
		}
	}
}
