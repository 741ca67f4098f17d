package dir

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// files are the system calls that change the spool: the seam where tests make them fail.
type files struct {
	create    func(path string) (*os.File, error) // a new file, to read and write
	write     func(f *os.File, p []byte) (int, error)
	copy      func(dst, src *os.File, offset, length int64) error // appends src's bytes to dst
	sync      func(f *os.File) error
	rename    func(from, to string) error
	renameNew func(from, to string) error // fails with os.ErrExist rather than replace
	remove    func(path string) error
	mkdir     func(path string) error
}

var system = files{
	create: func(path string) (*os.File, error) {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	},
	write:     (*os.File).Write,
	copy:      copyRange,
	sync:      (*os.File).Sync,
	rename:    os.Rename,
	renameNew: renameNew,
	remove:    os.Remove,
	mkdir:     func(path string) error { return os.Mkdir(path, 0o700) },
}

// renameNew falls back to link and unlink where the file system (NFS) cannot refuse
// to replace. Directories have no links there: their one owner has to look first.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == nil {
		return nil
	}
	if err != unix.EINVAL && err != unix.ENOSYS {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if _, err := os.Lstat(to); err == nil {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: unix.EEXIST}
		}
		return os.Rename(from, to)
	}
	if err := os.Link(from, to); err != nil {
		// An NFS server may have done it, and its answer been lost.
		there, statErr := os.Lstat(to)
		if statErr != nil || !os.SameFile(info, there) {
			return err
		}
	}
	return os.Remove(from)
}

// copyRange lets the kernel copy, which shares the blocks where it can.
func copyRange(dst, src *os.File, offset, length int64) error {
	for length > 0 {
		n, err := unix.CopyFileRange(int(src.Fd()), &offset, int(dst.Fd()), nil, int(min(length, 1<<30)), 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			m, err := io.Copy(dst, io.NewSectionReader(src, offset, length))
			if err == nil && m < length {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		length -= int64(n)
	}
	return nil
}

// syncDir opens the directory anew each time: after a failed sync the same
// descriptor may not be believed again.
func (fs *files) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := fs.sync(d); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// writeFile makes a new file of the parts and syncs it. After an error there is none.
func (fs *files) writeFile(path string, parts ...[]byte) error {
	f, err := fs.create(path)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err = fs.write(f, p); err != nil {
			break
		}
	}
	return fs.finish(f, err)
}

// finish syncs and closes a file, or removes it if err or its own work fails.
func (fs *files) finish(f *os.File, err error) error {
	if err == nil {
		err = fs.sync(f)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		err = fmt.Errorf("write %s: %w", f.Name(), err)
		_ = fs.remove(f.Name()) // else it is swept with tmp
	}
	return err
}

// removeIf is remove for a file that may be gone already.
func (fs *files) removeIf(path string) error {
	if err := fs.remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// exists tells whether there is something at path, a dangling link included.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// openRegular opens a file to read, and never a link, a pipe or a device.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, nil, damaged("%s is not a regular file", path)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = damaged("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
