package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/mlist/mlist/internal/backup"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// unpack makes everything ready in directories beside where it goes, and checks it again.
func (r *restoring) unpack(ctx context.Context) error {
	for _, p := range r.places {
		if err := p.prepare(); err != nil {
			return err
		}
	}
	err := r.read(func(m backup.Member, body io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return r.member(m, body)
	})
	if err != nil {
		return err
	}
	for _, p := range r.places {
		if p.part == "store" {
			if err := sqlstore.CheckFile(ctx, filepath.Join(p.stage, strings.TrimPrefix(storeMember, "store/"))); err != nil {
				return err
			}
		}
		if err := syncAll(p.stage); err != nil {
			return err
		}
	}
	return nil
}

// member unpacks one file.
func (r *restoring) member(m backup.Member, body io.Reader) error {
	part, rest, _ := strings.Cut(m.Name, "/")
	for _, p := range r.places {
		if p.part != part {
			continue
		}
		if part == "config" {
			var inside bool
			if rest, inside = strings.CutPrefix(m.Name, insidePrefix); !inside {
				return nil
			}
			rest = r.renamed(rest)
		}
		if err := p.member(rest); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		return p.put(filepath.FromSlash(rest), m, body)
	}
	return nil // left in the backup
}

// prepare makes the directory, if it is not there, and one in it to work in.
func (p *place) prepare() (err error) {
	if _, err := os.Stat(p.dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(p.dir, p.dirs); err != nil {
			return err
		}
		if u, err := user.Lookup("mlist"); err == nil && os.Geteuid() == 0 && p.part != "config" {
			if err := os.Chown(p.dir, number(u.Uid), number(u.Gid)); err != nil {
				return err
			}
		}
	}
	info, err := os.Stat(p.dir)
	if err != nil {
		return err
	}
	p.uid, p.gid = -1, -1
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		p.uid, p.gid = int(st.Uid), int(st.Gid) // what mlist keeps is whose the directory is
	}
	if p.stage, err = os.MkdirTemp(p.dir, ".restoring-"); err != nil {
		return err
	}
	if p.root, err = os.OpenRoot(p.stage); err != nil {
		return err
	}
	// It lies where mlist's user writes: nobody may have put a link in its place.
	made, err := os.Lstat(p.stage)
	if err != nil {
		return err
	}
	if opened, err := p.root.Stat("."); err != nil || !made.IsDir() || !os.SameFile(made, opened) {
		return errors.Join(fmt.Errorf("%s is not what was made there", p.stage), err)
	}
	return nil
}

func number(id string) int {
	n, err := strconv.Atoi(id)
	if err != nil {
		return -1
	}
	return n
}

// put writes a file below the stage, wherever its name would like to lead.
func (p *place) put(name string, m backup.Member, body io.Reader) error {
	for i, r := range name {
		if r == filepath.Separator {
			err := p.root.Mkdir(name[:i], p.dirs)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err == nil {
				err = p.own(name[:i], p.dirs, backup.Member{})
			}
			if err != nil {
				return err
			}
		}
	}
	f, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err = closing(err, f.Close); err != nil {
		return err
	}
	mode := p.files
	if mode == 0 {
		mode = m.Mode
	}
	return p.own(name, mode, m)
}

// own gives what was made to whom it belongs. Files of the configuration belong to whom they
// did, by name, or else to root.
func (p *place) own(name string, mode fs.FileMode, m backup.Member) error {
	if err := p.root.Chmod(name, mode); err != nil || os.Geteuid() != 0 {
		return err
	}
	uid, gid := p.uid, p.gid
	if p.part == "config" {
		if u, err := user.Lookup(m.User); err == nil {
			uid = number(u.Uid)
		}
		if g, err := user.LookupGroup(m.Group); err == nil {
			gid = number(g.Gid)
		}
	}
	return p.root.Lchown(name, uid, gid)
}

// swap moves what is in the way aside, and what is ready into its place: a rename for each,
// the configuration last.
func (r *restoring) swap() error {
	for i := len(r.places) - 1; i >= 0; i-- {
		p := r.places[i]
		names, err := p.names()
		if err != nil {
			return err
		}
		aside := filepath.Join(p.dir, ".before-restore-"+r.now.UTC().Format("20060102T150405.000000Z"))
		if p.part == "store" {
			// Also one that has no lists: it is another store, and its logs belong to it.
			names = nil
			base := filepath.Base(storePath(r.cfg))
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if _, err := os.Lstat(filepath.Join(p.dir, base+suffix)); err == nil {
					names = append(names, base+suffix)
				}
			}
			if err := p.root.Rename(strings.TrimPrefix(storeMember, "store/"), base); err != nil {
				return err
			}
		}
		for _, n := range names {
			to := filepath.Join(aside, n)
			if err := p.mkdirs(filepath.Dir(to)); err != nil {
				return err
			}
			if err := os.Rename(filepath.Join(p.dir, n), to); err != nil {
				return err
			}
		}
		if err := p.moveIn(); err != nil {
			return err
		}
		if err := syncAll(p.dir); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) mkdirs(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if p.uid < 0 {
		return nil
	}
	return os.Lchown(path, p.uid, p.gid)
}

// moveIn moves what is ready. A directory of the configuration may be there already, with
// other files in it; all others are not, or are empty.
func (p *place) moveIn() error {
	entries, err := os.ReadDir(p.stage)
	if err != nil {
		return err
	}
	if p.part == "spool" {
		// A queue that the backup has nothing for is empty now.
		for _, q := range spool.Queues {
			if err := p.root.Mkdir(string(q), p.dirs); err == nil {
				if err := p.own(string(q), p.dirs, backup.Member{}); err != nil {
					return err
				}
			} else if !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		entries, err = os.ReadDir(p.stage)
		if err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := moveInto(filepath.Join(p.stage, e.Name()), filepath.Join(p.dir, e.Name()), e.IsDir() && p.part == "config"); err != nil {
			return err
		}
	}
	return nil
}

// moveInto renames from to to, which may be an empty directory; if merge, a directory that is
// there keeps what else it has.
func moveInto(from, to string, merge bool) error {
	info, err := os.Lstat(to)
	there := err == nil && info.IsDir()
	if there && !merge {
		if err := os.Remove(to); err != nil { // it is not empty
			return err
		}
	}
	if !there || !merge {
		return os.Rename(from, to)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := moveInto(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), e.IsDir()); err != nil {
			return err
		}
	}
	return nil
}
