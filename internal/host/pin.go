package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkPin compares a program with the checksum that the configuration pins it to, if it
// does. As with its owner, who cannot write the directory cannot exchange the file
// between this and the start.
func checkPin(path string, pins map[string]string) error {
	want, ok := pins[filepath.Base(path)]
	if !ok {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("checksum: %w", err)
	}
	if have := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(have, want) {
		return fmt.Errorf("its SHA-256 is %s, and plugin_sha256 pins it to %s: another program was installed than the one that was checked", have, want)
	}
	return nil
}

// checkPins refuses pins of programs that are not there: most likely a name is misspelt,
// and the program that was meant has none.
func (l *launcher) checkPins(dir string, paths []string) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(l.pins)) {
		if !slices.ContainsFunc(paths, func(p string) bool { return filepath.Base(p) == name }) {
			problems = append(problems, fmt.Errorf("plugin_sha256 names %s, and %s has no such program", name, dir))
		}
	}
	return errors.Join(problems...)
}
