package pgtest

import (
	"fmt"
	"testing"

	"github.com/attestlog/attestlog/internal/testwait"
)

// Replica makes a streaming replica of the cluster and starts it; the end of
// the test removes it. It is called name in the cluster's pg_stat_replication
// and synchronous_standby_names. It has what the cluster had when Replica was
// called, and the rest some time later: a test waits for what it needs there.
func (c *Cluster) Replica(t testing.TB, name string) *Cluster {
	t.Helper()
	r := &Cluster{bin: c.bin, settings: c.settings}
	if err := r.makeDir(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Remove)

	primary := fmt.Sprintf("host=%s user=postgres application_name=%s", c.Dir, name)
	if err := r.run("pg_basebackup", "-D", r.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", primary); err != nil {
		t.Fatal(err)
	}
	r.Restart(t)
	return r
}

// Promote makes a replica a primary, and waits until it is one.
func (c *Cluster) Promote(t testing.TB) {
	t.Helper()
	seconds := fmt.Sprint(int(testwait.Patience().Seconds()))
	if err := c.run("pg_ctl", "promote", "-w", "-t", seconds, "-D", c.data()); err != nil {
		t.Fatal(err)
	}
}
