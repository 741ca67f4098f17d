package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/config"
)

// asItself are the commands that root runs as root: daemons are what their supervisor made
// them, and the others look at the machine or change it.
var asItself = []string{"serve", "lmtpd", "milter", "pipeline", "outbound", "postfix", "doctor", "config", "version", "man", "completion", "help", "__complete", "plugin", "restore"}

// becomeOwner runs the command as the user that mlist's daemons run as, where root gave it:
// what it makes in spool and store is theirs then. Files that root names may be any.
func (a *app) becomeOwner(cmd *cobra.Command) error {
	if os.Geteuid() != 0 || slices.Contains(asItself, family(cmd)) {
		return nil
	}
	c, _ := a.salvage() // the command tells what is wrong, if it needs it
	uid, gid, ok := ownerOf(c)
	if !ok || uid == 0 {
		return nil
	}
	status, err := runAs(uid, gid, os.Args[1:])
	if err != nil {
		return fmt.Errorf("run as the user of the spool (uid %d): %w", uid, err)
	}
	return exitStatus(status)
}

// family is the name of the command right below mlist.
func family(cmd *cobra.Command) string {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	return cmd.Name()
}

// ownerOf finds out whose spool and store are; false if neither is there yet.
func ownerOf(c *config.Config) (uid, gid uint32, ok bool) {
	spool, isDir := spoolDir(c)
	if !isDir {
		spool = "" // it is in the database
	}
	for _, path := range []string{spool, storePath(c), storeDir(c)} {
		var st unix.Stat_t
		if path != "" && unix.Stat(path, &st) == nil {
			return st.Uid, st.Gid, true
		}
	}
	return 0, 0, false
}

// spoolPath is the spool's directory, or "" if it is not one.
func spoolPath(c *config.Config) string {
	path, _ := spoolDir(c)
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	return path
}

// storePath is the store's file, or "" if it is not one.
func storePath(c *config.Config) string {
	path, ok := strings.CutPrefix(c.Store.URL, "sqlite:")
	if !ok {
		return ""
	}
	return path
}

// runAs runs this program as another user, who may read and write what root may, and leave
// files whose they were.
func runAs(uid, gid uint32, args []string) (status int, err error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: uid, Gid: gid},
		AmbientCaps: []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_CHOWN},
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	// Whatever ends this ends the command, too, which is told once: two would be one too many for
	// who cleans up.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s != os.Interrupt || !interruptsBoth() {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				if exit.ExitCode() < 0 {
					return exitError, nil
				}
				return exit.ExitCode(), nil
			}
			return 0, err
		}
	}
}

// interruptsBoth tells whether Ctrl-C reaches the command by itself: the terminal interrupts
// all that is in its foreground.
func interruptsBoth() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
