package dir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// files are the system calls that change the spool, and those that open its files: the
// seam where tests make them fail, and watch their order.
type files struct {
	create    func(path string) (*os.File, error)            // a new file, to read and write
	open      func(path string, flags int) (*os.File, error) // a file or directory, to read
	reuse     func(path string) (*os.File, int64, error)     // a file that nobody else has, to write anew, and its size
	truncate  func(f *os.File, size int64) error
	write     func(f *os.File, p []byte) (int, error)
	copy      func(dst, src *os.File, offset, length int64) error // appends src's bytes to dst
	sync      func(f *os.File) error
	close     func(f *os.File) error
	rename    func(from, to string) error
	noReplace func(from, to string) error // rename, but unix.EEXIST rather than replace
	exchange  func(a, b string) error     // of two that are there, each takes the other's name, in one step
	link      func(from, to string) error
	remove    func(path string) error
	mkdir     func(path string) error
	device    func(path string) (uint64, error) // of a directory
	space     func(path string) (free, total uint64, err error)
}

var system = files{
	create: func(path string) (*os.File, error) {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	},
	reuse:    reuse,
	truncate: (*os.File).Truncate,
	open:     func(path string, flags int) (*os.File, error) { return os.OpenFile(path, flags, 0) },
	write:    (*os.File).Write,
	copy:     copyRange,
	sync:     (*os.File).Sync,
	close:    (*os.File).Close,
	rename:   os.Rename,
	space:    space,
	noReplace: func(from, to string) error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	},
	exchange: func(a, b string) error {
		return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	},
	link:   os.Link,
	remove: os.Remove,
	mkdir:  func(path string) error { return os.Mkdir(path, 0o700) },
	device: device,
}

// renameNew is rename, but fails with os.ErrExist rather than replace. It falls back to
// link and unlink where the file system (NFS) cannot refuse to replace. Directories have
// no links there: their one owner has to look first.
func (fs *files) renameNew(from, to string) error {
	err := fs.noReplace(from, to)
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
		return fs.rename(from, to)
	}
	if err := fs.link(from, to); err != nil {
		// An NFS server may have done it, and its answer been lost.
		there, statErr := os.Lstat(to)
		if statErr != nil || !os.SameFile(info, there) {
			return err
		}
	}
	if err := fs.removeIf(from); err != nil {
		// In both places it would be done twice.
		return errors.Join(err, fs.removeIf(to))
	}
	return nil
}

// device tells on which file system a directory is, and refuses all that is none.
func device(path string) (uint64, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok {
		return 0, fmt.Errorf("%s is not a directory", path)
	}
	return st.Dev, nil
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
	d, err := fs.open(path, os.O_RDONLY|unix.O_DIRECTORY)
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
	if closeErr := fs.close(f); err == nil {
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

// openRegular opens a file to read, and never a link, a pipe or a device. It has that name
// still when it is open, and so is written anew by nobody until it is closed (spare.go).
func (fs *files) openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := fs.open(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
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
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && !os.SameFile(info, there) {
			err = &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
