//go:build unix && !linux

package tests_test

import "syscall"

// childOf makes a child run as owner.
func childOf(owner *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: owner}
}
