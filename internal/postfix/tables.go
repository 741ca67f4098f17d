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
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/address"
)

// Tables are look-up tables that Postfix reads: which addresses are lists', and, for lists
// in a domain that also has users, that their mail goes to mlist. They are files so that a
// stopped mlist harms no other mail. A change is one rename: Postfix sees the old one or
// the new one, never half of one.
type Tables struct {
	Dir       string   `json:"dir"`
	Type      string   `json:"type"`                // such as "hash" or "lmdb"; what postmap makes
	Dedicated []string `json:"dedicated,omitempty"` // domains of lists alone
	Shared    []string `json:"shared,omitempty"`    // domains that also have users
	NextHop   string   `json:"next_hop"`            // such as "mlist:unix:/run/mlist/lmtp.sock"
	// Others says that there is a table elsewhere, Routed which domains need the table routes.
	Others bool `json:"others,omitempty"`
	// Anew has Update write what seems to be as it should be, too.
	Anew   bool     `json:"anew,omitempty"`
	Routed []string `json:"routed,omitempty"`
}

// with joins what two set-ups need; t is the later one.
func (t Tables) with(old Tables) Tables {
	t.Dedicated, t.Shared, t.Routed = union(old.Dedicated, t.Dedicated), union(old.Shared, t.Shared), union(old.Routed, t.Routed)
	t.Others = t.Others || old.Others
	return t
}

const (
	recipients = "recipients" // lists' addresses, as themselves
	transport  = "transport"  // lists' addresses in shared domains: mlist

	// Two of regular expressions, which are other only after another setup:
	elsewhere = "elsewhere" // any address but those in dedicated domains
	routes    = "routes"    // any address in some dedicated domains: mlist
)

// Table names one of them as Postfix's configuration does.
func (t Tables) Table(name string) string {
	kind := t.Type
	if name == elsewhere || name == routes {
		kind = "regexp"
	}
	return kind + ":" + filepath.Join(t.Dir, name)
}

// heading stands at the top of all files.
const heading = "# Written by mlist at every change of its lists: a change made here is lost with the next.\n"

// Update writes what is not as it should be. lists are the addresses of all lists, aliases
// included; site is the local part of the address that the site has in each of their domains,
// if it is not "". The same lists give the same files, so that nothing is done where nothing
// changed.
func (t Tables) Update(ctx context.Context, lists iter.Seq2[address.Address, error], site string) (changed bool, err error) {
	var known, routed []string
	add := func(a address.Address) {
		for _, domain := range spellings(a.Domain) {
			key := strings.ToLower(address.Address{Local: a.Local, Domain: domain}.String())
			if strings.ContainsAny(key, " \t\"") || key[0] == '#' {
				continue // what postmap's text cannot hold, and Postfix would not ask for
			}
			known = append(known, key+" "+key+"\n")
			if slices.Contains(t.Shared, strings.ToLower(a.Domain)) {
				routed = append(routed, key+" "+t.NextHop+"\n")
			}
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
	fixed := map[string]string{}
	if t.Others && len(t.Dedicated) > 0 {
		fixed[elsewhere] = "!" + within(t.Dedicated) + " any\n"
	}
	if len(t.Routed) > 0 {
		fixed[routes] = within(t.Routed) + " " + strings.ReplaceAll(t.NextHop, "$", "$$") + "\n"
	}
	for name, line := range fixed {
		more, err := t.write(ctx, name, []string{line})
		if changed = changed || more; err != nil {
			return changed, err
		}
	}
	more, err := t.write(ctx, transport, routed)
	if changed = changed || more; err != nil {
		return changed, err
	}
	// Last: what Postfix takes in, it must know where to send.
	more, err = t.write(ctx, recipients, known)
	return changed || more, err
}

// within is a regular expression for any address in some domains.
func within(domains []string) string {
	var all []string
	for _, d := range domains {
		for _, d := range spellings(d) {
			all = append(all, regexp.QuoteMeta(d))
		}
	}
	return "/@(" + strings.Join(all, "|") + ")$/"
}

func (t Tables) write(ctx context.Context, name string, lines []string) (bool, error) {
	slices.Sort(lines)
	lines = slices.Compact(lines)
	text := []byte(heading + strings.Join(lines, ""))
	path := filepath.Join(t.Dir, name)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) && t.made(name) && !t.Anew {
		return false, nil
	}
	if err := t.replace(ctx, name, text); err != nil {
		return false, fmt.Errorf("write Postfix's table %s: %w", path, err)
	}
	return true, nil
}

// suffix is what postmap puts behind the name of a table that it makes; "" if Postfix reads
// the text itself.
func (t Tables) suffix(name string) string {
	switch kind, _, _ := strings.Cut(t.Table(name), ":"); kind {
	case "hash", "btree":
		return ".db"
	case "texthash", "regexp":
		return ""
	default:
		return "." + kind // lmdb, cdb
	}
}

// names are those of the tables that there should be.
func (t Tables) names() []string {
	out := []string{transport, recipients}
	if t.Others && len(t.Dedicated) > 0 {
		out = append(out, elsewhere)
	}
	if len(t.Routed) > 0 {
		out = append(out, routes)
	}
	return out
}

// made tells whether a table is there, and what was made of a text is no older than it: a
// crash between the two renames leaves that.
func (t Tables) made(name string) bool {
	path := filepath.Join(t.Dir, name)
	text, err := os.Stat(path)
	if err != nil {
		return false
	}
	table, err := os.Stat(path + t.suffix(name))
	return err == nil && !table.ModTime().Before(text.ModTime())
}

// replace makes the table beside the one that is there, then renames: the text first, for
// Postfix warns of a table that is older than its text.
func (t Tables) replace(ctx context.Context, name string, text []byte) error {
	work, err := os.MkdirTemp(t.Dir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	path, fresh, suffix := filepath.Join(t.Dir, name), filepath.Join(work, name), t.suffix(name)
	if err := writeSynced(fresh, text, 0o644); err != nil {
		return err
	}
	if suffix != "" {
		p, err := Find(ctx, "")
		if err != nil {
			return err
		}
		p.Dir = "" // any instance's postmap makes the same
		if _, err := p.run(ctx, "postmap", t.Type+":"+fresh); err != nil {
			return err
		}
		if err := os.Chmod(fresh+suffix, 0o644); err != nil {
			return err
		}
	}
	if err := t.hand(fresh, fresh+suffix); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	if suffix == "" {
		return nil
	}
	return os.Rename(fresh+suffix, path+suffix)
}

// hand makes files that root has written belong to whom the directory belongs, as all in it does.
func (t Tables) hand(files ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var dir unix.Stat_t
	if err := unix.Stat(t.Dir, &dir); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Chown(f, int(dir.Uid), int(dir.Gid)); err != nil {
			return err
		}
	}
	return nil
}

func writeSynced(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask is
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
