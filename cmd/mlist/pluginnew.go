package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

//go:embed pluginskeleton
var skeletons embed.FS

// skeleton is what the files of a new handler are made of.
type skeleton struct {
	Name       string
	Version    string // of mlist
	Unreleased bool   // there is no such version to download
	Checkout   string // of mlist, to build with; may be empty
}

// handlerName is fit for a file, a module, a stage and a plugin at once.
var handlerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func (a *app) pluginNew() *cobra.Command {
	var dir, checkout string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "write the skeleton of a handler",
		Long: `Writes a handler that works: the program, a test, go.mod and a Makefile that builds, tests, checks and installs it.
Change it to what you want. Nothing is written over.`,
		Example: "  mlist plugin new shout\n  mlist plugin new shout --dir ~/src/shout --mlist ~/src/mlist",
		Args:    between(1, 1, "one name"),
	}
	c.Flags().StringVar(&dir, "dir", "", "where to write it (a new folder of that name)")
	c.Flags().StringVar(&checkout, "mlist", "", "a checkout of mlist's source to build with, instead of a release")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name := args[0]
		if !handlerName.MatchString(name) {
			return usageError{fmt.Errorf("name %q: want small letters, digits and -, a letter first, at most 63", name)}
		}
		s := skeleton{Name: name, Version: versionText()}
		if !regexp.MustCompile(`^v\d+\.\d+\.\d+`).MatchString(s.Version) {
			s.Version, s.Unreleased = "v0.0.0", true
		}
		if checkout != "" {
			var err error
			if s.Checkout, err = mlistSource(checkout); err != nil {
				return err
			}
		}
		if dir == "" {
			dir = name
		}
		files, err := s.files()
		if err != nil {
			return err
		}
		if err := writeSkeleton(dir, files); err != nil {
			return err
		}
		return a.tellNew(cmd, s, dir, files)
	}
	return c
}

// mlistSource tells whether there is a checkout of mlist, and makes its path absolute.
func mlistSource(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	mod, err := os.ReadFile(filepath.Join(path, "go.mod"))
	if err != nil || !bytes.HasPrefix(mod, []byte("module github.com/mlist/mlist\n")) {
		return "", fmt.Errorf("--mlist %s: no source of mlist is there", path)
	}
	return path, nil
}

// skeletonFile is one file to write.
type skeletonFile struct {
	name string
	text []byte
}

func (s skeleton) files() ([]skeletonFile, error) {
	all, err := template.ParseFS(skeletons, "pluginskeleton/*.tmpl")
	if err != nil {
		return nil, err
	}
	var out []skeletonFile
	for _, name := range []string{"main.go", "main_test.go", "go.mod", "Makefile"} {
		var b bytes.Buffer
		if err := all.ExecuteTemplate(&b, name+".tmpl", s); err != nil {
			return nil, err
		}
		text := append(bytes.TrimSpace(b.Bytes()), '\n')
		if strings.HasSuffix(name, ".go") {
			if text, err = format.Source(text); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		out = append(out, skeletonFile{name, text})
	}
	return out, nil
}

// writeSkeleton writes all files, or none if one of them is there.
func writeSkeleton(dir string, files []skeletonFile) error {
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
			return withHint(fmt.Errorf("%s is there already", filepath.Join(dir, f.name)), "Nothing was written; --dir names another folder.")
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeNew(filepath.Join(dir, f.name), f.text, false); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) tellNew(cmd *cobra.Command, s skeleton, dir string, files []skeletonFile) error {
	w := cmd.OutOrStdout()
	if a.json {
		var names []string
		for _, f := range files {
			names = append(names, filepath.Join(dir, f.name))
		}
		return printJSON(w, map[string]any{"name": s.Name, "dir": dir, "files": names})
	}
	dir = printable(dir, false)
	fmt.Fprintf(w, "A handler that works is in %s. What it decides is in Handle, in main.go.\n\n", dir)
	if s.Unreleased && s.Checkout == "" {
		fmt.Fprint(w, "  First: this mlist is no release, so go.mod must say where its source is (replace).\n\n")
	}
	fmt.Fprintf(w, "  cd %s\n", dir)
	fmt.Fprint(w, "  make test       # what it does to messages, without mlist\n"+
		"  make check      # what mlist does to handlers\n")
	fmt.Fprintf(w, "  mlist plugin run ./%s < MESSAGE\n", s.Name)
	fmt.Fprintf(w, "  sudo make install\n\nThen name %s in stages of [pipeline], and `mlist reload`.\n", s.Name)
	return nil
}
