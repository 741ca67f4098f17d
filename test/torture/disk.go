package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskSize is that of the file system that gets full.
const diskSize = 128 << 20

// ownMounts runs the program again where what it mounts is seen by nobody else, and goes
// with it however it ends. It returns only in that second run, or without root.
func ownMounts() error {
	const second = "MLIST_TORTURE_MOUNTS"
	if os.Geteuid() != 0 {
		return nil
	}
	if os.Getenv(second) != "" {
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), second+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var status *exec.ExitError
	if errors.As(err, &status) {
		os.Exit(status.ExitCode())
	}
	if err == nil {
		os.Exit(0)
	}
	return fmt.Errorf("run with mounts of its own: %w", err)
}

// disk is a small file system on which a whole installation lies: spool, store and archive.
type disk struct {
	dir  string
	full bool
	n    int // how often it was
}

func mountDisk(dir string) (*disk, error) {
	if err := unix.Mount("torture", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", diskSize)); err != nil {
		return nil, fmt.Errorf("mount a small file system: %w", err)
	}
	return &disk{dir: dir}, nil
}

func (d *disk) unmount() error { return unix.Unmount(d.dir, unix.MNT_DETACH) }

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes all room but a little, of which every so often nothing is left.
func (d *disk) fill(rnd *rand.Rand) error {
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	d.full = true
	d.n++
	block := make([]byte, 1<<20)
	for len(block) >= 4096 {
		_, err := f.Write(block)
		if errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
	if leave := rnd.Int64N(8); leave < 6 { // some steps work then, and the next does not
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return f.Truncate(info.Size() - leave*16<<10)
	}
	return nil
}

// empty gives the room back.
func (d *disk) empty() error {
	d.full = false
	if err := os.Remove(d.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
