//go:build unix

package crashtest

import (
	"os/exec"
	"syscall"
)

// ownGroup lets cmd's cancellation end the processes that it started too, which
// print their goroutines first.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGQUIT) }
}
