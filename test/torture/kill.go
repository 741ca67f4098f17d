package main

import (
	"strconv"
	"syscall"
)

// killPID ends a process that one of our daemons started.
func killPID(text string) error {
	pid, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
