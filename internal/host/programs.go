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

// Programs lists the programs of a plugin directory without starting any. With check,
// those that someone other than root or the current user could have changed are
// refused, and a directory in which they could is an error.
func Programs(dir string, check bool) ([]Program, error) {
	paths, broken, err := discover(dir, false)
	if err != nil {
		return nil, err
	}
	var out []Program
	for _, path := range paths {
		p := Program{Path: path}
		if check {
			p.Refused = checkProgram(path)
		}
		out = append(out, p)
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
