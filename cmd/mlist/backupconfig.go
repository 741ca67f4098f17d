package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/config"
)

// Files of the configuration in a backup: those in its own directory or below it, which a
// restore puts back, and others, which it only tells of.
const (
	insidePrefix  = "config/inside/"
	outsidePrefix = "config/outside/"
	// maxNamed bounds a file that the configuration names: keys, passwords, certificates.
	maxNamed = 1 << 20
)

// settings adds the configuration file and the files that it names.
func (b *backing) settings(ctx context.Context, _ *progress) error {
	path, _ := b.app.path()
	for _, file := range namedFiles(b.cfg, path) {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := outsidePrefix + strings.TrimPrefix(file, "/")
		if rel, err := filepath.Rel(filepath.Dir(path), file); err == nil && filepath.IsLocal(rel) {
			name = insidePrefix + filepath.ToSlash(rel)
		}
		err := b.add(name, file, unix.O_NONBLOCK)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the defaults hold
		}
		if err != nil {
			return err
		}
		b.json.Parts["config"]++
	}
	return nil
}

// namedFiles are the configuration file, the templates, the files that the configuration
// names, and, where these are in a directory below its own, what else is there: the key that
// comes next is not in the configuration yet.
func namedFiles(c *config.Config, path string) []string {
	files := []string{path}
	home := filepath.Dir(path)
	for _, name := range pathsIn(c) {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxNamed {
			continue
		}
		files = append(files, name)
		if rel, err := filepath.Rel(home, filepath.Dir(name)); err == nil && rel != "." && filepath.IsLocal(rel) {
			files = append(files, filesBelow(filepath.Dir(name))...)
		}
	}
	files = append(files, filesBelow(c.Templates.Dir)...)
	slices.Sort(files)
	return slices.Compact(files)
}

func filesBelow(dir string) (files []string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it need not be there
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Size() <= maxNamed {
			files = append(files, path)
		}
		return nil
	})
	return files
}

// pathsIn are the absolute paths in a configuration's text values, whatever keys they have:
// plugins have keys that only they know.
func pathsIn(c *config.Config) (paths []string) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil // it has been read from a file
	}
	var v any
	_ = json.Unmarshal(text, &v)
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if u, err := url.Parse(v); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
				v = u.Query().Get("passfile")
			}
			if filepath.IsAbs(v) {
				paths = append(paths, filepath.Clean(v))
			}
		case []any:
			for _, v := range v {
				walk(v)
			}
		case map[string]any:
			for _, v := range v {
				walk(v)
			}
		}
	}
	walk(v)
	return paths
}

// ownerNames are whose a file is, by name: another machine has other numbers.
func ownerNames(info fs.FileInfo) (owner, group string) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", ""
	}
	if u, err := user.LookupId(strconv.Itoa(int(st.Uid))); err == nil {
		owner = u.Username
	}
	if g, err := user.LookupGroupId(strconv.Itoa(int(st.Gid))); err == nil {
		group = g.Name
	}
	return owner, group
}
