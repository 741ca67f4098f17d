package templates

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// Bounds of a directory of templates.
const (
	maxTotal = 16 << 20 // octets
	maxFiles = 50_000
)

// Load reads the directory, which need not be there, and checks every file in it; language is
// the site's. The error tells of all files that are bad, each a [*FileError].
func Load(dir, language string) (*Set, error) {
	if language == "" {
		language = English
	}
	l := &loader{dir: dir, set: &Set{language: language, files: map[key]*entry{}}, scopes: map[string]string{}}
	if err := list.CheckLanguage(language); err != nil {
		return nil, err
	}
	if dir == "" {
		return l.set, nil
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l.set, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the templates: %w", err)
	}
	defer root.Close() // only read
	l.files = root.FS()
	l.top()
	if err := errors.Join(l.errs...); err != nil {
		return nil, err
	}
	return l.set, nil
}

// loader reads one directory. What lists and domains are called leads nowhere: names of
// directories are read and compared, none is made of them, and os.Root keeps symbolic links
// within.
type loader struct {
	dir    string
	files  fs.FS
	set    *Set
	errs   []error
	scopes map[string]string // the directory of each
	octets int64
	number int
}

func (l *loader) fail(at string, err error) {
	if len(l.errs) < 100 { // more would help nobody
		l.errs = append(l.errs, &FileError{filepath.Join(l.dir, at), 0, err})
	}
}

// read lists a directory, without what editors and package managers leave behind.
func (l *loader) read(dir string) []fs.DirEntry {
	all, err := fs.ReadDir(l.files, dir)
	if err != nil {
		l.fail(dir, plainError(err))
	}
	var out []fs.DirEntry
	for _, e := range all {
		name := e.Name()
		if strings.ContainsAny(name[:1], ".#") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "README") || leftOver(path.Ext(name)) {
			continue
		}
		out = append(out, e)
	}
	return out
}

func leftOver(ext string) bool {
	return strings.HasPrefix(ext, ".dpkg") || strings.HasPrefix(ext, ".rpm") || ext == ".bak" || ext == ".orig" || ext == ".swp"
}

// plainError is the cause without the path, which FileError has.
func plainError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// isDir follows links, within the directory.
func (l *loader) isDir(at string) bool {
	info, err := fs.Stat(l.files, at)
	return err == nil && info.IsDir()
}

func (l *loader) top() {
	for _, e := range l.read(".") {
		switch name := e.Name(); name {
		case "site":
			l.scope("site", "site")
		case "list":
			for _, of := range l.read("list") {
				a, err := address.Parse(of.Name())
				if err != nil {
					l.fail(path.Join("list", of.Name()), errors.New("not called as a list: want LIST@DOMAIN"))
					continue
				}
				l.scope(path.Join("list", of.Name()), "list "+a.Key())
			}
		case "domain":
			for _, of := range l.read("domain") {
				domain, err := address.ParseDomain(of.Name())
				if err != nil {
					l.fail(path.Join("domain", of.Name()), errors.New("not called as a domain"))
					continue
				}
				l.scope(path.Join("domain", of.Name()), "domain "+strings.ToLower(domain))
			}
		default:
			l.fail(name, errors.New("want the directories list, domain and site, and nothing else"))
		}
	}
}

// scope reads the directory of a list, a domain or the site.
func (l *loader) scope(dir, scope string) {
	if other := l.scopes[scope]; other != "" {
		l.fail(dir, fmt.Errorf("is for the same as %s", other))
		return
	}
	l.scopes[scope] = dir
	if !l.isDir(dir) {
		l.fail(dir, errors.New("want a directory"))
		return
	}
	for _, e := range l.read(dir) {
		name := path.Join(dir, e.Name())
		if !l.isDir(name) {
			l.file(name, key{scope: scope})
			continue
		}
		language := e.Name()
		if err := list.CheckLanguage(language); err != nil {
			l.fail(name, err)
			continue
		}
		for _, f := range l.read(name) {
			l.file(path.Join(name, f.Name()), key{scope: scope, language: language})
		}
	}
}

// file reads one file.
func (l *loader) file(name string, k key) {
	base := path.Base(name)
	if path.Ext(base) != ".txt" {
		l.fail(name, errors.New("want NAME.txt"))
		return
	}
	content, err := l.content(name)
	if err != nil {
		l.fail(name, plainError(err))
		return
	}
	l.number++
	if l.octets += int64(len(content)); l.octets > maxTotal || l.number > maxFiles {
		if l.octets -= int64(len(content)); l.number == maxFiles+1 || l.number <= maxFiles {
			l.fail(name, fmt.Errorf("too many templates: more than %d, or more than %d MB", maxFiles, maxTotal>>20))
		}
		return
	}
	if err := builtIn().addFile(l.set.files, k, filepath.Join(l.dir, name), base, string(content)); err != nil && len(l.errs) < 100 {
		l.errs = append(l.errs, err)
	}
}

// content is what a regular file holds, as far as it is not too long by far.
func (l *loader) content(name string) ([]byte, error) {
	info, err := fs.Stat(l.files, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("no regular file")
	}
	f, err := l.files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 2*maxText))
}
