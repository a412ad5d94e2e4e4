package main

import (
	"github.com/attestlog/attestlog"
)

// A damage counts the damaged entries of a listing.
type damage struct {
	entries uint64
	first   error
}

// note counts an entry that has an Err.
func (d *damage) note(err error) {
	if err == nil {
		return
	}
	if d.entries == 0 {
		d.first = err
	}
	d.entries++
}

// report says how many entries were damaged, if there were any, and ends the command
// with exit code 1.
func (d *damage) report(a *app) error {
	if d.entries == 0 {
		return nil
	}
	a.say("attestlog: TAMPERED: damaged entries: %d, the first is %s", d.entries, clean(d.first.Error()))
	a.say("hint: attestlog verify says what else is; docs/operations.md says what to do")
	return errNo
}

// A damagePrinter counts the damaged entries that it prints. Formats of other programs
// have no way to say that an entry is damaged, and go without it.
type damagePrinter struct {
	printer
	damage    *damage
	isForeign bool
}

func (p *damagePrinter) print(e *attestlog.Entry) error {
	p.damage.note(e.Err)
	if e.Err != nil && p.isForeign {
		return nil
	}
	return p.printer.print(e)
}
