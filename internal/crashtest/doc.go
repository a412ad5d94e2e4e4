// Package crashtest kills the attestlog program, lets its system calls fail and
// its disk fill up, and then looks at what is left of the log. It holds only
// tests.
//
// What must hold after each crash is the same: every receipt's entry is there,
// with the index, id and leaf hash that it was given; indexes are contiguous;
// the log verifies and opens again; and giving the same events again leaves
// each in the log once.
//
// The tests run a dozen rounds. ATTESTLOG_ROUNDS=N runs N, and every system
// call instead of a selection; ATTESTLOG_SEED repeats a run's choices.
package crashtest
