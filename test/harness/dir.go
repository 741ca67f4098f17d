package harness

import "os"

// TempDir makes a temporary directory that daemons under other users can search, and
// returns how to remove it.
func TempDir(name string) (dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp("", "mlist-"+name+"-"); err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}
