package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// discover lists the programs in the plugin directory. Those that someone else could
// have put there or changed are in refused, and are never started.
func discover(dir string, check bool) (programs []string, refused []error, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("plugin directory: %w", err)
	}
	if check {
		if err := checkDir(dir); err != nil {
			return nil, nil, fmt.Errorf("plugin directory %s: %w", dir, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("plugin directory: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			refused = append(refused, fmt.Errorf("plugin %s: %w", path, err))
			continue
		}
		if !isProgram(e.Name(), info) {
			continue
		}
		if check {
			if err := checkProgram(path); err != nil {
				refused = append(refused, fmt.Errorf("plugin %s: %w", path, err))
				continue
			}
		}
		programs = append(programs, path)
	}
	return programs, refused, nil
}

func isProgram(name string, info fs.FileInfo) bool {
	return mayBeProgram(name, info) && info.Mode().Perm()&0o111 != 0
}

func mayBeProgram(name string, info fs.FileInfo) bool {
	return info.Mode().IsRegular() && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".md")
}

// errNotExecutable is why a file of the plugin directory is none of the programs.
var errNotExecutable = errors.New("it is not executable (chmod +x)")

// maxIdle bounds how many files are told of.
const maxIdle = 5

// idle are files of a plugin directory that would be programs if they could be executed: told of
// where a plugin is missing.
func idle(dir string) (problems []error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // who has discovered has told
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err == nil && mayBeProgram(e.Name(), info) && !isProgram(e.Name(), info) && len(problems) < maxIdle {
			problems = append(problems, fmt.Errorf("plugin %s: %w", path, errNotExecutable))
		}
	}
	return problems
}

// checkProgram refuses a program that someone other than root or the current user
// could have changed. It goes by path, not by an open file: who cannot write any of
// the directories cannot exchange the file between the check and the start.
func checkProgram(path string) error {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(resolved)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	if info.Mode().Perm()&0o111 == 0 {
		return errNotExecutable
	}
	if err := checkOwner(resolved, info); err != nil {
		return err
	}
	return checkDir(filepath.Dir(resolved))
}

// checkDir refuses a directory whose content someone else could change, or one above
// it in which someone else could put another in its place. There, a sticky directory
// such as /tmp will do.
func checkDir(dir string) error {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for path := resolved; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if path == resolved || info.Mode()&fs.ModeSticky == 0 {
			if err := checkOwner(path, info); err != nil {
				return err
			}
		}
		if path == filepath.Dir(path) {
			return nil
		}
	}
}

func checkOwner(path string, info fs.FileInfo) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if uid := int(st.Uid); uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d; it must be root or user %d, who runs this (chown, or check_owner = false)",
			path, uid, os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s has mode %#o, others can write it (chmod go-w, or check_owner = false)", path, mode)
	}
	return nil
}
