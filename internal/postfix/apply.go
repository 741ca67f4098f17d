package postfix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Record is what was set up: how to take it back, and which tables to keep up to date.
type Record struct {
	Postfix string    `json:"postfix"` // its configuration directory
	At      time.Time `json:"at"`
	Domains []string  `json:"domains"`
	Tables  Tables    `json:"tables"`
	Changes []Change  `json:"changes"`
}

const recordName = "setup.json"

// ReadRecord reads what was set up; nil if nothing was.
func ReadRecord(dir string) (*Record, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, recordName), err)
	}
	return r, nil
}

// write replaces the record, on stable storage.
func (r *Record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	work := filepath.Join(dir, recordName+".new")
	if err := os.Remove(work); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeSynced(work, append(b, '\n')); err != nil {
		return err
	}
	return os.Rename(work, filepath.Join(dir, recordName))
}

// Apply makes the plan's changes. Before that it writes down in dir what it will change,
// and puts copies of main.cf and master.cf there. If Postfix does not like the result, all
// is taken back.
func (p *Instance) Apply(ctx context.Context, plan *Plan, domains []string, dir string) (*Record, error) {
	old, err := ReadRecord(dir)
	if err != nil {
		return nil, err
	}
	r := &Record{Postfix: p.Dir, At: time.Now().UTC(), Domains: domains, Tables: plan.Tables}
	if old != nil {
		if old.Postfix != p.Dir {
			return nil, fmt.Errorf("what was set up is in %s, not in %s: undo that first", old.Postfix, p.Dir)
		}
		r.Changes = old.Changes
		r.Domains = union(old.Domains, domains)
		r.Tables.Shared = union(old.Tables.Shared, plan.Tables.Shared)
	}
	r.Changes = append(slices.Clone(r.Changes), plan.Changes...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if len(plan.Changes) > 0 {
		if err := p.backUp(dir, r.At); err != nil {
			return nil, err
		}
	}
	if err := r.write(dir); err != nil {
		return nil, err
	}
	if err := p.makeChanges(ctx, plan.Changes); err != nil {
		_, undo := p.takeBack(ctx, plan.Changes)
		if old != nil {
			undo = errors.Join(undo, old.write(dir))
		} else {
			undo = errors.Join(undo, os.Remove(filepath.Join(dir, recordName)))
		}
		return nil, errors.Join(err, undo)
	}
	return r, nil
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

func (p *Instance) backUp(dir string, at time.Time) error {
	for _, name := range []string{"main.cf", "master.cf"} {
		b, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		to := filepath.Join(dir, fmt.Sprintf("%s.%s", name, at.Format("20060102T150405.000Z")))
		if err := writeSynced(to, b); err != nil {
			return fmt.Errorf("back up: %w", err)
		}
	}
	return nil
}

func (p *Instance) makeChanges(ctx context.Context, changes []Change) error {
	var e edits
	for _, c := range changes {
		e.add(c, c.After, true)
	}
	if err := p.edit(ctx, e); err != nil {
		return err
	}
	said, err := p.Warnings(ctx)
	if err == nil && said != "" {
		err = fmt.Errorf("after the changes Postfix says: %s", said)
	}
	return err
}

// edits are what postconf is asked to do, by its option. Each kind is one command: Postfix
// waits until a file that has just changed is a second old, whoever reads it.
type edits map[string][]string

// add gives a parameter or a service a value, or takes it out.
func (e *edits) add(c Change, value string, set bool) {
	if *e == nil {
		*e = edits{}
	}
	switch {
	case c.Service && set:
		(*e)["-M"] = append((*e)["-M"], c.Name+"="+value)
	case c.Service:
		(*e)["-MX"] = append((*e)["-MX"], c.Name)
	case set:
		(*e)["-e"] = append((*e)["-e"], c.Name+" = "+value)
	default:
		(*e)["-X"] = append((*e)["-X"], c.Name)
	}
}

func (p *Instance) edit(ctx context.Context, e edits) error {
	p.params = nil // to be read anew
	for _, option := range []string{"-e", "-X", "-M", "-MX"} {
		if len(e[option]) == 0 {
			continue
		}
		if _, err := p.run(ctx, "postconf", append([]string{option}, e[option]...)...); err != nil {
			return err
		}
	}
	return nil
}

// Undo takes back what the record in dir tells of. What was changed since is left alone,
// but for items that were added to lists; the notes tell.
func (p *Instance) Undo(ctx context.Context, dir string) (notes []string, err error) {
	r, err := ReadRecord(dir)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, errNothing
	}
	if r.Postfix != p.Dir {
		return nil, fmt.Errorf("what was set up is in %s, not in %s", r.Postfix, p.Dir)
	}
	if err := p.backUp(dir, time.Now().UTC()); err != nil {
		return nil, err
	}
	if notes, err = p.takeBack(ctx, r.Changes); err != nil {
		return notes, err
	}
	return notes, os.Remove(filepath.Join(dir, recordName))
}

// takeBack undoes changes, the last first: two of one parameter end where the first began.
func (p *Instance) takeBack(ctx context.Context, changes []Change) (notes []string, err error) {
	var e edits
	seen := map[string]bool{}
	for i := len(changes) - 1; i >= 0; i-- {
		c := changes[i]
		if seen[c.Name] {
			continue
		}
		seen[c.Name] = true
		for _, earlier := range changes[:i] {
			if earlier.Name == c.Name {
				c.Before, c.Set = earlier.Before, earlier.Set
				c.Added = append(slices.Clone(c.Added), earlier.Added...)
				break
			}
		}
		note, err := p.undoOne(ctx, &e, c)
		if err != nil {
			return notes, err
		}
		if note != "" {
			notes = append(notes, note)
		}
	}
	return notes, p.edit(ctx, e)
}

func (p *Instance) undoOne(ctx context.Context, e *edits, c Change) (note string, err error) {
	if c.Service {
		now, err := p.service(ctx, c.Name)
		switch {
		case err != nil || now == "":
			return "", err
		case now != strings.Join(strings.Fields(c.After), " "):
			return fmt.Sprintf("master.cf: %s was changed since, and stays.", c.Name), nil
		}
		e.add(c, "", false)
		return "", nil
	}
	now, set, err := p.raw(ctx, c.Name)
	switch {
	case err != nil || !set:
		return "", err
	case canonical(now) == canonical(c.After):
		e.add(c, c.Before, c.Set)
		return "", nil
	case c.Added == nil:
		return fmt.Sprintf("main.cf: %s was changed since, and stays: %s", c.Name, now), nil
	}
	left := slices.DeleteFunc(split(now), func(item string) bool {
		return slices.ContainsFunc(c.Added, func(added string) bool { return canonical(added) == canonical(item) })
	})
	e.add(c, strings.Join(left, ", "), len(left) > 0 || c.Set)
	return "", nil
}
