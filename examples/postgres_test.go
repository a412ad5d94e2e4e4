package examples

import (
	"testing"

	"github.com/attestlog/attestlog/internal/pgtest"
)

// startServer returns the URL of a server of the test's own.
func startServer(t *testing.T) string {
	t.Helper()
	c, err := pgtest.Start("fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Remove)
	return c.DSN("postgres")
}
