package postfix

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
)

// Tables are look-up tables that Postfix reads: which addresses are lists', and, for lists
// in a domain that also has users, that their mail goes to mlist. They are files so that a
// stopped mlist harms no other mail. A change is one rename: Postfix sees the old one or
// the new one, never half of one.
type Tables struct {
	Dir     string   `json:"dir"`
	Type    string   `json:"type"`             // such as "hash" or "lmdb"; what postmap makes
	Shared  []string `json:"shared,omitempty"` // domains that also have users
	NextHop string   `json:"next_hop"`         // such as "mlist:unix:/run/mlist/lmtp.sock"
}

const (
	recipients = "recipients"
	transport  = "transport"
)

// Table names one of the two as Postfix's configuration does.
func (t Tables) Table(name string) string { return t.Type + ":" + filepath.Join(t.Dir, name) }

// heading stands at the top of both files.
const heading = "# Written by mlist at every change of its lists: a change made here is lost with the next.\n"

// Update writes what is not as it should be. lists are the addresses of all lists, aliases
// included; site is the local part of the address that the site has in each of their domains,
// if it is not "". The same lists give the same files, so that nothing is done where nothing
// changed.
func (t Tables) Update(ctx context.Context, lists iter.Seq2[address.Address, error], site string) (changed bool, err error) {
	var known, routed []string
	add := func(a address.Address) {
		key := strings.ToLower(a.String())
		if strings.ContainsAny(key, " \t\"#\\") {
			return // a key that postmap's text cannot hold, and Postfix would not ask for
		}
		known = append(known, key+" list\n")
		if slices.Contains(t.Shared, strings.ToLower(a.Domain)) {
			routed = append(routed, key+" "+t.NextHop+"\n")
		}
	}
	for l, err := range lists {
		if err != nil {
			return false, err
		}
		for _, a := range address.Names(l) {
			add(a)
		}
		if site != "" {
			add(address.Address{Local: site, Domain: l.Domain})
		}
	}
	if changed, err = t.write(ctx, transport, routed); err != nil {
		return changed, err
	}
	// Last: what Postfix takes in, it must know where to send.
	more, err := t.write(ctx, recipients, known)
	return changed || more, err
}

func (t Tables) write(ctx context.Context, name string, lines []string) (bool, error) {
	slices.Sort(lines)
	lines = slices.Compact(lines)
	text := []byte(heading + strings.Join(lines, ""))
	path := filepath.Join(t.Dir, name)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) && t.made(path) {
		return false, nil
	}
	if err := t.replace(ctx, path, text); err != nil {
		return false, fmt.Errorf("write Postfix's table %s: %w", path, err)
	}
	return true, nil
}

// suffix is what postmap puts behind the name of a table that it makes.
func (t Tables) suffix() string {
	switch t.Type {
	case "hash", "btree":
		return ".db"
	case "texthash":
		return ""
	}
	return "." + t.Type // lmdb, cdb
}

// made tells whether what was made of a text is no older than it: a crash between the two
// renames leaves that.
func (t Tables) made(path string) bool {
	text, err := os.Stat(path)
	if err != nil {
		return false
	}
	table, err := os.Stat(path + t.suffix())
	return err == nil && !table.ModTime().Before(text.ModTime())
}

// replace makes the table beside the one that is there, then renames: the text first, for
// Postfix warns of a table that is older than its text.
func (t Tables) replace(ctx context.Context, path string, text []byte) error {
	work, err := os.MkdirTemp(t.Dir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	fresh := filepath.Join(work, filepath.Base(path))
	if err := writeSynced(fresh, text); err != nil {
		return err
	}
	if t.suffix() != "" {
		p, err := Find(ctx, "")
		if err != nil {
			return err
		}
		p.Dir = "" // any instance's postmap makes the same
		if _, err := p.run(ctx, "postmap", t.Type+":"+fresh); err != nil {
			return err
		}
		if err := os.Chmod(fresh+t.suffix(), 0o644); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	if t.suffix() == "" {
		return nil
	}
	return os.Rename(fresh+t.suffix(), path+t.suffix())
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask is
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Holds tells whether the table of recipients has an address. It reads the text, not what
// was made of it.
func (t Tables) Holds(a address.Address) (bool, error) {
	f, err := os.Open(filepath.Join(t.Dir, recipients))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer f.Close()
	want := strings.ToLower(a.String()) + " "
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), want) {
			return true, nil
		}
	}
	return false, lines.Err()
}
