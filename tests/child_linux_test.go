package tests_test

import "syscall"

// childOf makes a child run as owner and end with this process.
func childOf(owner *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: owner, Pdeathsig: syscall.SIGKILL}
}
