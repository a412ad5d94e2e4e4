//go:build unix

package crashtest

import (
	"os/exec"
	"syscall"
)

// ownGroup gives cmd and the processes that it starts a group of their own.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// endGroup ends cmd's group, whose programs print their goroutines first.
func endGroup(cmd *exec.Cmd) {
	syscall.Kill(-cmd.Process.Pid, syscall.SIGQUIT) // fails once it has ended
}
