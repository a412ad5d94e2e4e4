package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
)

// Replica makes a streaming replica of the cluster and starts it. It is called
// name in the cluster's pg_stat_replication and synchronous_standby_names.
func (c *Cluster) Replica(name string) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "attestlog-pg-")
	if err != nil {
		return nil, err
	}
	r := &Cluster{Dir: dir, bin: c.bin, settings: c.settings}
	if err := r.dropRoot(); err != nil {
		return nil, err
	}
	out, err := r.Command("pg_basebackup", "-D", filepath.Join(dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync",
		"-d", fmt.Sprintf("host=%s user=postgres application_name=%s", c.Dir, name)).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	return r, r.Restart()
}

// Promote makes a replica a primary, and waits until it is one.
func (c *Cluster) Promote() error {
	out, err := c.Command("pg_ctl", "promote", "-w", "-D", filepath.Join(c.Dir, "data")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_ctl promote: %w\n%s", err, out)
	}
	return nil
}
