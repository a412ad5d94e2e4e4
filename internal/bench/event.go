package bench

import (
	"fmt"
	"strconv"

	"github.com/attestlog/attestlog"
)

// The benchmark's event is fixed: with a generated id its leaf has exactly 413
// bytes and 11 terms, and no sealed field. A sealed event also has a value for
// each default seal.
const (
	leafBytes  = 413
	leafTerms  = 11
	eventSeals = 3
)

var actions = [...]string{
	"mail.view", "mail.send", "mail.move", "file.read", "file.edit", "user.login", "user.edit", "role.grant",
}

const (
	actors  = 1_000
	tenants = 50
	targets = 100_000
	rare    = 100_000 // one entry in this many has the rare actor
)

// spread is a bijection of the integers that looks random.
func spread(i int) uint64 {
	x := uint64(i) * 0x9e3779b97f4a7c15
	x ^= x >> 32
	return x * 0xd6e8feb86659fd93 >> 16
}

// event returns the i-th event; sealed adds a value for each default seal.
func event(i int, sealed bool) attestlog.Event {
	r := spread(i)
	action := actions[r%uint64(len(actions))]
	actor := "user-" + pad(r/8%actors, 6)
	if i%rare == rare/2 {
		actor = "rare-000000"
	}

	// Actions differ in length; the filler makes up for it.
	const filler = "archive/202"
	e := attestlog.Event{
		Action:    action,
		Operation: "read",
		Outcome:   attestlog.Success,
		Service:   "webmail",
		Tenant:    "tenant-" + pad(r/64%tenants, 4),
		Actor:     attestlog.Actor{ID: actor, Type: "user"},
		Targets:   []attestlog.Target{{ID: pad(r/256%targets, 8), Type: "message"}},
		Changes:   []attestlog.Change{{Op: "replace", Old: "inbox", New: filler[:len(filler)-len(action)]}},
		Request:   attestlog.Request{DurationUS: 1000 + int64(r%9000)},
	}
	if sealed {
		e.Actor.Name = "Benchmark User " + pad(r%actors, 4)
		e.Source.IP = "10." + strconv.Itoa(int(r%200)) + "." + strconv.Itoa(int(r/200%200)) + ".7"
		e.Source.UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	}
	return e
}

// pad returns n in decimal, with zeros before it up to a width of at most 20.
func pad(n uint64, width int) string {
	var buf [20]byte
	b := strconv.AppendUint(buf[:0], n, 10)
	if len(b) >= width {
		return string(b)
	}

	const zeros = "00000000000000000000"
	return zeros[:width-len(b)] + string(b)
}

// checkLeaf returns an error if a stored leaf is not of the event that the
// figures are about.
func checkLeaf(leaf []byte) error {
	terms := 0
	err := attestlog.Terms(leaf, nil, func(string, []byte) { terms++ })
	if err != nil {
		return err
	}
	if len(leaf) != leafBytes || terms != leafTerms {
		return fmt.Errorf("the benchmark's leaf has %d bytes and %d terms, want %d and %d",
			len(leaf), terms, leafBytes, leafTerms)
	}
	return nil
}
