package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Error is what is wrong with one key of a file.
type Error struct {
	File string
	Line int    // from 1; 0 when the key is not in the file
	Key  string // such as outbound.mta; empty when the file is not TOML
	Err  error
}

func (e *Error) Error() string {
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Key == "" {
		return fmt.Sprintf("%s: %v", place, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", place, e.Key, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// problems collects what is wrong with a file.
type problems struct {
	file string
	at   lines
	all  []*Error
}

func (p *problems) add(key string, err error) {
	p.all = append(p.all, &Error{File: p.file, Line: p.at.of(key), Key: key, Err: err})
}

func (p *problems) addf(key, format string, args ...any) { p.add(key, fmt.Errorf(format, args...)) }

// err joins them in the order of the lines.
func (p *problems) err() error {
	slices.SortStableFunc(p.all, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	errs := make([]error, len(p.all))
	for i, e := range p.all {
		errs[i] = e
	}
	return errors.Join(errs...)
}
