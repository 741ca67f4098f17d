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
	"syscall"
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
	if err := writeSynced(work, append(b, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.Rename(work, filepath.Join(dir, recordName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// Lock keeps others from setting up or undoing at the same time; it waits for them. Whoever
// applies a plan or undoes one holds it from before the plan is made.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another setup to end (%s): %w", f.Name(), ctx.Err())
		}
	}
}

// files are Postfix's, as text.
type files struct{ main, master text }

func (p *Instance) read() (files, error) {
	main, err := os.ReadFile(filepath.Join(p.Dir, "main.cf"))
	if err != nil {
		return files{}, err
	}
	master, err := os.ReadFile(filepath.Join(p.Dir, "master.cf"))
	return files{text(main), text(master)}, err
}

// Apply makes the plan's changes. It tries them on copies first: where Postfix warns of
// something new there, or does not read from them what was meant, nothing is changed. Before
// it changes anything it writes down in dir what it will change, and puts copies of main.cf
// and master.cf there; each of these is then replaced in one step.
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
		r.Tables = r.Tables.with(old.Tables)
	}
	r.Changes = append(slices.Clone(r.Changes), plan.Changes...)
	before, err := p.read()
	if err != nil {
		return nil, err
	}
	after := before
	for _, c := range plan.Changes {
		after = c.put(after)
	}
	if said, err := p.try(ctx, before, after, plan.Changes); err != nil {
		return nil, err
	} else if len(said) > 0 {
		return nil, fmt.Errorf("with these changes Postfix would say: %s", strings.Join(said, "; "))
	}
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
	return r, p.replace(before, after, false)
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// backUp puts copies beside the record, which nobody can read who cannot read the originals.
func (p *Instance) backUp(dir string, at time.Time) error {
	for _, name := range []string{"main.cf", "master.cf"} {
		from := filepath.Join(p.Dir, name)
		b, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		to := filepath.Join(dir, fmt.Sprintf("%s.%s", name, at.Format("20060102T150405.000Z")))
		if err := writeLike(from, to, b); err != nil {
			return fmt.Errorf("back up: %w", err)
		}
	}
	return nil
}

// replace puts changed files in the place of those that are there. The services first, and
// mainFirst when they go: what main.cf names must be there.
func (p *Instance) replace(before, after files, mainFirst bool) error {
	p.params = nil // to be read anew
	order := []struct {
		name          string
		before, after text
	}{{"master.cf", before.master, after.master}, {"main.cf", before.main, after.main}}
	if mainFirst {
		slices.Reverse(order)
	}
	for _, f := range order {
		if f.before == f.after {
			continue
		}
		path, err := filepath.EvalSymlinks(filepath.Join(p.Dir, f.name))
		if err != nil {
			return err
		}
		if now, err := os.ReadFile(path); err != nil {
			return err
		} else if text(now) != f.before {
			return fmt.Errorf("%s was changed by somebody else just now: run this again", path)
		}
		work := path + ".mlist-new"
		if err := os.Remove(work); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := writeLike(path, work, []byte(f.after)); err != nil {
			return err
		}
		if err := os.Rename(work, path); err != nil {
			return errors.Join(err, os.Remove(work))
		}
		if err := syncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}

// writeLike writes a new file with the owner and permissions of another, on stable storage.
func writeLike(like, path string, b []byte) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	if err := writeSynced(path, b, info.Mode().Perm()); err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return os.Chown(path, int(st.Uid), int(st.Gid))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// try has Postfix read the changed files from another place, and compares what it finds there
// with what is meant. It returns what Postfix warns of that it did not warn of before.
func (p *Instance) try(ctx context.Context, before, after files, changes []Change) (warnings []string, err error) {
	if before == after {
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "mlist-postfix-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	q := &Instance{Dir: dir, bin: p.bin}
	for name, t := range map[string]text{"main.cf": after.main, "master.cf": after.master} {
		path := filepath.Join(dir, name)
		if err := writeSynced(path, []byte(t), 0o600); err != nil {
			return nil, err
		}
		// Postfix waits until a file is a second old, and nobody changes these.
		old := time.Now().Add(-time.Minute)
		if err := os.Chtimes(path, old, old); err != nil {
			return nil, err
		}
	}
	known, err := p.Warnings(ctx)
	if err != nil {
		return nil, err
	}
	said, err := q.Warnings(ctx)
	if err != nil {
		return nil, err
	}
	for _, line := range said {
		if strings.Contains(line, "config_directory=") {
			continue // which is not where the copies are
		}
		if line = strings.ReplaceAll(line, dir, p.Dir); !slices.Contains(known, line) {
			warnings = append(warnings, line)
		}
	}
	for _, c := range changes {
		if have, err := q.has(ctx, c); err != nil {
			return nil, err
		} else if !have {
			return nil, fmt.Errorf("the text of %s has a shape that this does not understand: %s would not be what it has to be (%s); change it by hand", p.Dir, c.Name, c.After)
		}
	}
	return warnings, nil
}

// has tells whether a change is in effect.
func (p *Instance) has(ctx context.Context, c Change) (bool, error) {
	if c.Service {
		now, err := p.service(ctx, c.Name)
		return now == oneLine(c.After), err
	}
	now, err := p.run(ctx, "postconf", "-h", c.Name)
	if err != nil {
		return false, err
	}
	have := split(now)
	for _, item := range c.Added {
		if !slices.ContainsFunc(have, func(h string) bool { return canonical(h) == canonical(item) }) {
			return false, nil
		}
	}
	return c.Added != nil || canonical(now) == canonical(c.After), nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// put makes one change.
func (c Change) put(f files) files {
	if c.Service {
		lines := strings.NewReplacer(" -o ", "\n    -o ", " flags=", "\n    flags=").Replace(c.After)
		f.master = f.master.add(lines)
		return f
	}
	at, ok := f.main.param(c.Name)
	switch {
	case c.Added == nil:
		f.main = f.main.assign(c.Name, c.After)
	case ok:
		f.main = f.main.insert(at, strings.Join(c.Added, ", "), c.Front)
	default:
		f.main = f.main.add(c.Name + " = " + c.After)
	}
	return f
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
		return nil, fmt.Errorf("what was set up is in %s, not in %s: `--postfix %s` undoes that", r.Postfix, p.Dir, r.Postfix)
	}
	before, err := p.read()
	if err != nil {
		return nil, err
	}
	after := before
	// The last first: each finds what it has left.
	for _, c := range slices.Backward(r.Changes) {
		var note string
		if after, note = c.take(after); note != "" {
			notes = append(notes, note)
		}
	}
	if notes, err = p.takeBack(ctx, dir, before, after, notes); err != nil {
		return nil, err
	}
	return notes, os.Remove(filepath.Join(dir, recordName))
}

// takeBack puts files without what mlist had there in the place of those with it.
func (p *Instance) takeBack(ctx context.Context, dir string, before, after files, notes []string) ([]string, error) {
	said, err := p.try(ctx, before, after, nil)
	if err != nil {
		return nil, err
	}
	for _, line := range said {
		notes = append(notes, "Postfix says: "+line)
	}
	if err := p.backUp(dir, time.Now().UTC()); err != nil {
		return nil, err
	}
	return notes, p.replace(before, after, true)
}

// Leave takes one domain out of what the record in dir tells of, and leaves the others. What
// was the last one is undone as a whole.
func (p *Instance) Leave(ctx context.Context, dir, domain string) (r *Record, notes []string, err error) {
	if r, err = ReadRecord(dir); err != nil {
		return nil, nil, err
	}
	if r == nil || !slices.Contains(r.Domains, domain) {
		return nil, nil, fmt.Errorf("%s was not set up by mlist, as far as it has written down", domain)
	}
	if len(r.Domains) == 1 {
		notes, err = p.Undo(ctx, dir)
		return nil, notes, err
	}
	if r.Postfix != p.Dir {
		return nil, nil, fmt.Errorf("what was set up is in %s, not in %s: `--postfix %s` undoes that", r.Postfix, p.Dir, r.Postfix)
	}
	before, err := p.read()
	if err != nil {
		return nil, nil, err
	}
	after := before
	for i, c := range r.Changes {
		left := c.without(domain)
		if slices.Equal(left, c.Added) {
			continue
		}
		after, _ = c.take(after)
		c.After = strings.Replace(c.After, strings.Join(c.Added, ", "), strings.Join(left, ", "), 1)
		if c.Added = left; len(left) > 0 {
			after = c.put(after)
		}
		r.Changes[i] = c
	}
	r.Changes = slices.DeleteFunc(r.Changes, func(c Change) bool { return c.Added != nil && len(c.Added) == 0 })
	gone := func(d string) bool { return d == domain }
	r.Domains = slices.DeleteFunc(r.Domains, gone)
	t := &r.Tables
	t.Dedicated, t.Shared, t.Routed = slices.DeleteFunc(t.Dedicated, gone), slices.DeleteFunc(t.Shared, gone), slices.DeleteFunc(t.Routed, gone)
	if notes, err = p.takeBack(ctx, dir, before, after, notes); err != nil {
		return nil, nil, err
	}
	return r, notes, r.write(dir)
}

// without is what a change would have added without a domain.
func (c Change) without(domain string) []string {
	if c.Added == nil {
		return nil
	}
	out := []string{}
	names := spellings(domain)
	for _, item := range c.Added {
		if slices.Contains(names, item) {
			continue
		}
		inside, ok := strings.CutPrefix(item, "inline:{ ")
		if !ok {
			out = append(out, item)
			continue
		}
		pairs := slices.DeleteFunc(split(strings.TrimSuffix(inside, " }")), func(pair string) bool {
			key, _, _ := strings.Cut(strings.TrimPrefix(pair, "{"), "=")
			return slices.Contains(names, key[strings.LastIndexByte(key, '@')+1:])
		})
		if len(pairs) > 0 {
			out = append(out, "inline:{ "+strings.Join(pairs, ", ")+" }")
		}
	}
	return out
}

// take undoes one change, where it is still there.
func (c Change) take(f files) (after files, note string) {
	if c.Service {
		at, ok := f.master.entry(c.Name)
		switch {
		case !ok:
		case strings.Join(f.master.words(at), " ") != oneLine(c.After):
			note = fmt.Sprintf("master.cf: %s was changed since, and stays.", c.Name)
		default:
			f.master = f.master.without(at)
		}
		return f, note
	}
	at, ok := f.main.param(c.Name)
	if !ok {
		return f, ""
	}
	now := f.main.value(at)
	switch {
	case !c.Set && canonical(now) == canonical(c.After):
		f.main = f.main.without(at)
	case c.Added == nil && canonical(now) == canonical(c.After):
		f.main = f.main.assign(c.Name, c.Before)
	case c.Added == nil && canonical(now) != canonical(c.Before):
		note = fmt.Sprintf("main.cf: %s was changed since, and stays: %s", c.Name, now)
	case c.Added != nil:
		f.main = c.takeOut(f.main, at)
	}
	return f, note
}

// takeOut takes a change's items out of a list, whatever that is now.
func (c Change) takeOut(main text, at span) text {
	if left, ok := main.extract(at, strings.Join(c.Added, ", "), c.Front); ok {
		return left
	}
	have := split(main.value(at))
	left := slices.DeleteFunc(slices.Clone(have), func(item string) bool {
		return slices.ContainsFunc(c.Added, func(added string) bool { return canonical(added) == canonical(item) })
	})
	switch {
	case len(left) == len(have):
		return main
	case len(left) == 0 && !c.Set:
		return main.without(at)
	}
	return main.assign(c.Name, strings.Join(left, ", "))
}
