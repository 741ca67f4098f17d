package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/mailfile"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) archiveExport() *cobra.Command {
	var r archiveRange
	var mbox, maildir string
	c := &cobra.Command{
		Use:   "export LIST --mbox FILE | --maildir DIR",
		Short: "write the posts of the archive for other programs",
		Long: `Writes the posts of the archive into an mbox (the form mboxrd: "From " at the start of a line has a ">" before it, which
readers take away) or into a Maildir, as they were kept. What is in the Maildir already stays.`,
		Example: "  mlist archive export dev@lists.example.org --mbox dev.mbox\n  mlist archive export dev@lists.example.org --mbox - --since 2026-01-01 | gzip > dev-2026.mbox.gz\n" +
			"  mlist archive export dev@lists.example.org --maildir ./dev",
		Args: between(1, 1, "the address of a list"),
	}
	r.flags(c)
	c.Flags().StringVar(&mbox, "mbox", "", "the file to write, which must not exist; - is standard output")
	c.Flags().StringVar(&maildir, "maildir", "", "the directory to write; it is made if it is missing")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := r.filter()
		if err != nil {
			return err
		}
		if (mbox == "") == (maildir == "") {
			return usageError{errors.New("want either --mbox FILE or --maildir DIR")}
		}
		return a.withArchive(cmd, args[0], func(st store.Store, l *list.List, ar archive.Archive) error {
			e := &export{app: a, cmd: cmd, store: st, list: l, archive: ar, filter: f}
			if maildir != "" {
				return e.maildir(maildir)
			}
			return e.mbox(mbox)
		})
	}
	return c
}

// export is one that is under way.
type export struct {
	*app
	cmd     *cobra.Command
	store   store.Store
	list    *list.List
	archive archive.Archive
	filter  store.ArchiveFilter
}

func (e *export) mbox(path string) error {
	out := e.cmd.OutOrStdout()
	if path != "-" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			return withHint(err, "mlist does not write over a file: name another, or remove it.")
		}
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	m := mailfile.NewMbox(out)
	n, err := e.each(func(p store.Archived, r io.Reader) error {
		return m.Add(mailfile.From{Sender: p.From, Time: p.Received}, r)
	})
	if err == nil {
		err = m.Flush()
	}
	if f, ok := out.(*os.File); ok && path != "-" && err == nil {
		err = f.Close()
	}
	if err != nil || path == "-" {
		return err
	}
	return e.told(n, path)
}

func (e *export) maildir(path string) error {
	m, err := mailfile.NewMaildir(path)
	if err != nil {
		return err
	}
	n, err := e.each(func(p store.Archived, r io.Reader) error {
		return m.Add(fmt.Sprintf("%d.%d_%s.mlist", p.Received.Unix(), p.Number, p.Entry), r)
	})
	if err != nil {
		return err
	}
	return e.told(n, path)
}

// each reads every post. One that is damaged is named; the others are written.
func (e *export) each(add func(p store.Archived, r io.Reader) error) (n int64, err error) {
	p := newProgress(e.err)
	defer p.clear()
	var damaged error
	for post, err := range there(e.store.Archived(e.cmd.Context(), e.list.ID, e.filter)) {
		if err != nil {
			return n, err
		}
		r, err := e.archive.Open(e.cmd.Context(), post.Place)
		if err == nil {
			err = closing(add(post, r), r.Close)
		}
		if errors.Is(err, archive.ErrNotFound) || errors.Is(err, archive.ErrDamaged) {
			damaged = fmt.Errorf("post %d: %w", post.Number, err)
			fmt.Fprintf(p.writer(e.err), "mlist: %s\n", printable(damaged.Error(), false))
			continue
		}
		if err != nil {
			return n, err
		}
		n++
		p.show(n, -1)
	}
	if damaged != nil {
		return n, withHint(errors.New("not every post could be read"), "`mlist archive verify %s` names all that are damaged.", e.list.Address)
	}
	return n, nil
}

func (e *export) told(n int64, path string) error {
	if e.json {
		return printJSON(e.cmd.OutOrStdout(), map[string]any{"exported": n, "to": path})
	}
	_, err := fmt.Fprintf(e.cmd.OutOrStdout(), "%s written to %s.\n", count(n, "post", "posts"), printable(path, false))
	return err
}
