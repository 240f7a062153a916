//go:build unix && !linux

package kubetest

import "syscall"

// Other kernels have no signal for the death of a parent: there, interrupted tests leave their servers behind.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // gone already is as good
