package mailfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Maildir writes messages into a Maildir.
type Maildir struct{ path string }

// NewMaildir makes the directories that a Maildir has, as far as they are missing.
func NewMaildir(path string) (*Maildir, error) {
	for _, d := range []string{"", "tmp", "new", "cur"} {
		if err := os.Mkdir(filepath.Join(path, d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return &Maildir{path}, nil
}

// Add puts a message into new under a name, as it is; one that is there already stays.
func (m *Maildir) Add(name string, message io.Reader) error {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/:\x00") {
		return fmt.Errorf("%q is no name for a file of a Maildir", name)
	}
	final := filepath.Join(m.path, "new", name)
	if _, err := os.Lstat(final); err == nil {
		return nil
	}
	temp := filepath.Join(m.path, "tmp", name)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, message)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, final)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}
