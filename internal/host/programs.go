package host

import (
	"fmt"
	"os"
	"path/filepath"
)

// Program is a file of the plugin directory that may be a plugin.
type Program struct {
	Path    string
	Refused error // why mlist would not start it; nil if it would
}

// Programs lists the programs of a plugin directory without starting any. Those that
// CheckFile refuses are refused, and where there is none, files that cannot be executed; with check, a directory in which someone other than root or
// the current user could change them is an error.
func Programs(dir string, check bool, pins map[string]string) ([]Program, error) {
	paths, broken, err := discover(dir, false)
	if err != nil {
		return nil, err
	}
	var out []Program
	for _, path := range paths {
		out = append(out, Program{Path: path, Refused: CheckFile(path, check, pins)})
	}
	if len(out) == 0 {
		broken = append(broken, idle(dir)...)
	}
	for _, err := range broken {
		out = append(out, Program{Refused: err})
	}
	if check {
		if dir, err = filepath.Abs(dir); err == nil {
			err = checkDir(dir)
		}
		if err != nil {
			return out, fmt.Errorf("plugin directory %s: %w", dir, err)
		}
	}
	return out, nil
}

// CheckFile tells why mlist would not start a program, as far as its file tells: with check,
// someone other than root or the current user could have changed it; or it is not the one
// that the pins (Config.SHA256) want under its name.
func CheckFile(path string, check bool, pins map[string]string) error {
	if check {
		if err := checkProgram(path); err != nil {
			return err
		}
	}
	return checkPin(path, pins)
}

// Alone makes a plugin directory in which one program is, and nothing else: Config.Dir
// for trying it. remove takes it away.
func Alone(path string) (dir string, remove func() error, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp("", "plugin-"); err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	if err := os.Symlink(path, filepath.Join(dir, "plugin")); err != nil {
		_ = remove() // there is nothing in it
		return "", nil, err
	}
	return dir, remove, nil
}
