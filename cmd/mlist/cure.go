package main

import (
	"errors"
	"io/fs"
	"net"
	"syscall"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/spool"
)

// cure adds to an error of a daemon's start what to do about it, where it is one of the
// mistakes that administrators make; docs/mistakes.md has them all.
func cure(err error) error {
	var hint hintError
	var wrong *config.Error
	var name *net.DNSError
	var op *net.OpError
	listening := errors.As(err, &op) && op.Op == "listen" && op.Net == "tcp"
	switch {
	case err == nil || errors.As(err, &hint):
		return err
	case errors.Is(err, syscall.EROFS):
		return withHint(err, "The service may write only below its own directories: `systemctl edit mlist`, with the lines [Service] and ReadWritePaths=DIR. Or the disk is read-only.")
	case errors.As(err, &wrong):
		return withHint(err, "`mlist config --defaults` shows every key with its default, `mlist config check` tells when the file is right.")
	case errors.Is(err, listen.ErrTaken):
		return withHint(err, "`ss -lxtnp` tells which; stop it, or choose another address in the configuration.")
	case listening && errors.Is(err, fs.ErrPermission):
		return withHint(err, "Ports below 1024 are root's, and mlist does not run as root: choose a higher one in the configuration.")
	case listening && errors.As(err, &name):
		return withHint(err, "DNS does not tell of that name; an address such as 127.0.0.1 needs none.")
	case listening && errors.Is(err, syscall.EADDRNOTAVAIL):
		return withHint(err, "This machine has no such address: `ip address` shows those that it has.")
	case errors.Is(err, spool.ErrOwned):
		return withHint(err, "Give each daemon its own, such as 0000-7fff and 8000-ffff (--segments, or outbound.segments); `mlist status` shows who has which.")
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, "`mlist doctor`, run as root, names what does not belong to mlist's user, and how to put it right.")
	}
	return err
}

// orHint is cure with something to go by for an error that has no cure of its own.
func orHint(err error, text string) error {
	var hint hintError
	if err = cure(err); err == nil || errors.As(err, &hint) {
		return err
	}
	return withHint(err, "%s", text)
}
