package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk/message"
)

func (a *app) archiveCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "archive",
		Short: "look at the archives of lists, export, import and remove",
		Example: `  mlist archive ls dev@lists.example.org --since 2026-01-01
  mlist archive show dev@lists.example.org 4711
  mlist archive export dev@lists.example.org --mbox dev.mbox
  mlist archive import dev@lists.example.org old.mbox
  mlist archive remove dev@lists.example.org 4711
  mlist archive verify dev@lists.example.org`,
	}, a.archiveLs(), a.archiveShow(), a.archiveExport(), a.archiveImport(), a.archiveRemove(), a.archiveVerify())
}

// withArchive opens store and archive, and hands a list to what the command does.
func (a *app) withArchive(cmd *cobra.Command, name string, do func(store.Store, *list.List, archive.Archive) error) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	ar := openArchive(c)
	if ar == nil {
		return withHint(errors.New("no archive is configured"), "archive.url in the configuration says where it is.")
	}
	return a.withList(cmd, name, func(st store.Store, l *list.List) error { return do(st, l, ar) })
}

// archiveRange is which posts a command is about.
type archiveRange struct{ since, until, first, last string }

func (r *archiveRange) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.since, "since", "", "only posts of this date or later: 2026-03-01, or with a time, 2026-03-01T15:04:05Z")
	c.Flags().StringVar(&r.until, "until", "", "only posts before this date")
	c.Flags().StringVar(&r.first, "first", "", "only posts of this number or a higher one")
	c.Flags().StringVar(&r.last, "last", "", "only posts of this number or a lower one")
}

func (r *archiveRange) filter() (store.ArchiveFilter, error) {
	var f store.ArchiveFilter
	for _, d := range []struct {
		name, text string
		to         *time.Time
	}{{"since", r.since, &f.Since}, {"until", r.until, &f.Until}} {
		if d.text == "" {
			continue
		}
		t, err := time.ParseInLocation(time.DateOnly, d.text, time.Local)
		if err != nil {
			t, err = time.Parse(time.RFC3339, d.text)
		}
		if err != nil {
			return f, usageError{fmt.Errorf("--%s %q: want a date such as 2026-03-01", d.name, d.text)}
		}
		*d.to = t
	}
	for _, n := range []struct {
		name, text string
		to         *int64
	}{{"first", r.first, &f.First}, {"last", r.last, &f.Last}} {
		if n.text == "" {
			continue
		}
		v, err := strconv.ParseInt(n.text, 10, 64)
		if err != nil || v < 1 {
			return f, usageError{fmt.Errorf("--%s %q: want the number of a post", n.name, n.text)}
		}
		*n.to = v
	}
	return f, nil
}

// archivedJSON is a post as `archive ls --json` shows it.
type archivedJSON struct {
	Number    int64      `json:"number"`
	MessageID string     `json:"message_id"`
	Hash      string     `json:"hash"`
	Date      time.Time  `json:"date"`
	Received  time.Time  `json:"received"`
	From      string     `json:"from"`
	Name      string     `json:"name"`
	Subject   string     `json:"subject"`
	Refs      []string   `json:"references"`
	Size      int64      `json:"size"`
	Entry     string     `json:"entry"`
	Digest    string     `json:"digest,omitempty"` // volume/issue that it went into
	Removed   *time.Time `json:"removed,omitempty"`
}

func archivedOf(p store.Archived) archivedJSON {
	j := archivedJSON{Number: p.Number, MessageID: p.MessageID, Hash: p.Hash, Date: p.Date, Received: p.Received, From: p.From, Name: p.FromName,
		Subject: p.Subject, Refs: p.Refs, Size: p.Size, Entry: p.Entry}
	if p.Issue != (store.Issue{}) {
		j.Digest = issueName(p.Issue)
	}
	if !p.Removed.IsZero() {
		j.Removed = &p.Removed
	}
	return j
}

func (a *app) archiveLs() *cobra.Command {
	var r archiveRange
	c := &cobra.Command{
		Use:     "ls LIST",
		Short:   "print the posts in the archive, by number",
		Example: "  mlist archive ls dev@lists.example.org\n  mlist archive ls dev@lists.example.org --since 2026-01-01 --until 2026-02-01 --json",
		Args:    between(1, 1, "the address of a list"),
	}
	r.flags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := r.filter()
		if err != nil {
			return err
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.printArchive(cmd, st, l, f) })
	}
	return c
}

func (a *app) printArchive(cmd *cobra.Command, st store.Store, l *list.List, f store.ArchiveFilter) error {
	w := cmd.OutOrStdout()
	out, n := array{w: w}, 0
	for p, err := range st.Archived(cmd.Context(), l.ID, f) {
		if err != nil {
			return err
		}
		n++
		switch {
		case a.json:
			err = out.add(archivedOf(p))
		case !p.Removed.IsZero():
			_, err = fmt.Fprintf(w, "%6d  %s  (removed)\n", p.Number, p.Date.Local().Format(time.DateOnly))
		default:
			_, err = fmt.Fprintf(w, "%6d  %s  %-30s  %s\n", p.Number, p.Date.Local().Format(time.DateOnly), cut(printable(authorOf(p), false), 30), cut(printable(p.Subject, false), 100))
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return out.end()
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "No posts are in the archive.")
		return err
	}
	return nil
}

func authorOf(p store.Archived) string {
	if p.FromName != "" {
		return p.FromName
	}
	return p.From
}

// findArchived looks a post up by its number, its Message-ID or the hash of that.
func findArchived(ctx context.Context, st store.Store, l *list.List, name string) (store.Archived, error) {
	f := store.ArchiveFilter{Hash: message.IDHash(strings.Trim(name, "<> "))}
	if n, err := strconv.ParseInt(name, 10, 64); err == nil && n > 0 {
		f = store.ArchiveFilter{First: n, Last: n}
	} else if len(name) == 32 && strings.Trim(strings.ToUpper(name), "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "" {
		f = store.ArchiveFilter{Hash: strings.ToUpper(name)}
	}
	for p, err := range st.Archived(ctx, l.ID, f) {
		return p, err
	}
	return store.Archived{}, withHint(fmt.Errorf("no post %s is in the archive of %s", name, l.Address), "`mlist archive ls %s` shows all.", l.Address)
}

func (a *app) archiveShow() *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use:   "show LIST NUMBER|MESSAGE-ID|HASH",
		Short: "show a post: what the index has of it, and its header block",
		Example: "  mlist archive show dev@lists.example.org 4711\n  mlist archive show dev@lists.example.org 20260302100000.1@example.net --message | less\n" +
			"  mlist archive show dev@lists.example.org JJIGKPKB6CVDX6B2CUG4IHAJRIQIOUTP",
		Args: between(2, 2, "the address of a list, and a post"),
	}
	c.Flags().BoolVar(&whole, "message", false, "only the message, as it was kept, every octet")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withArchive(cmd, args[0], func(st store.Store, l *list.List, ar archive.Archive) error {
			p, err := findArchived(cmd.Context(), st, l, args[1])
			if err != nil {
				return err
			}
			return a.showArchived(cmd, ar, p, whole)
		})
	}
	return c
}

func (a *app) showArchived(cmd *cobra.Command, ar archive.Archive, p store.Archived, whole bool) error {
	w := cmd.OutOrStdout()
	if a.json {
		return printJSON(w, archivedOf(p))
	}
	if !p.Removed.IsZero() {
		return fmt.Errorf("post %d was removed on %s", p.Number, moment(p.Removed))
	}
	r, err := ar.Open(cmd.Context(), p.Place)
	if err != nil {
		return err
	}
	defer r.Close()
	if whole {
		if isTerminal(a.out) {
			return printText(w, r)
		}
		_, err := io.Copy(w, r)
		return err
	}
	for _, f := range [][2]string{
		{"number", fmt.Sprint(p.Number)}, {"date", moment(p.Date)}, {"received", moment(p.Received)}, {"hash", p.Hash}, {"size", thousands(p.Size) + " octets"},
		{"entry", p.Entry}, {"digest", archivedOf(p).Digest}, {"file", p.Place},
	} {
		if f[1] != "" {
			fmt.Fprintf(w, "%-9s  %s\n", f[0], printable(f[1], false))
		}
	}
	block, err := io.ReadAll(io.LimitReader(r, message.MaxHeader))
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	for f := range message.ParseHeader(headerBlock(block)).Fields() {
		fmt.Fprint(w, printable(strings.ReplaceAll(string(f.Raw), "\r\n", "\n"), true))
	}
	return nil
}

// headerBlock is the header block that a text starts with.
func headerBlock(text []byte) []byte {
	block, _, err := message.Split(strings.NewReader(string(text)), int64(len(text)))
	if err != nil {
		return nil
	}
	return block
}

func (a *app) archiveRemove() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "remove LIST NUMBER...",
		Short: "take posts out of the archive, for good",
		Long: `Removes posts from the archive, and from the digest that they wait for. What is left is that there was a post of this
number, so that links to it can say so. Copies that members have stay with them.`,
		Example: "  mlist archive remove dev@lists.example.org 4711\n  mlist archive remove dev@lists.example.org 4711 4712 --yes",
		Args:    between(2, -1, "the address of a list, and numbers of posts"),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var numbers []int64
		for _, arg := range args[1:] {
			n, err := strconv.ParseInt(arg, 10, 64)
			if err != nil || n < 1 {
				return usageError{fmt.Errorf("%q: want the number of a post", arg)}
			}
			numbers = append(numbers, n)
		}
		return a.withArchive(cmd, args[0], func(st store.Store, l *list.List, ar archive.Archive) error {
			if err := a.confirm(yes, fmt.Sprintf("Remove %s of %s for good?", count(int64(len(numbers)), "post", "posts"), l.Address)); err != nil {
				return err
			}
			return a.removeArchived(cmd, st, l, ar, numbers)
		})
	}
	return c
}

func (a *app) removeArchived(cmd *cobra.Command, st store.Store, l *list.List, ar archive.Archive, numbers []int64) error {
	for _, n := range numbers {
		err := eraseArchived(cmd.Context(), st, l, ar, n)
		if errors.Is(err, store.ErrNotFound) {
			return withHint(fmt.Errorf("no post %d is in the archive of %s", n, l.Address), "`mlist archive ls %s` shows all.", l.Address)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"removed": len(numbers)})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s removed.\n", count(int64(len(numbers)), "post", "posts"))
	return err
}

// eraseArchived removes the files before the store forgets where they are: after a crash in between
// the post is there to be removed again.
func eraseArchived(ctx context.Context, st store.Store, l *list.List, ar archive.Archive, number int64) error {
	for p, err := range st.Archived(ctx, l.ID, store.ArchiveFilter{First: number, Last: number, Unarchived: true}) {
		if err != nil {
			return err
		}
		for _, place := range []string{p.Place, p.DigestPlace} {
			if place == "" {
				continue
			}
			if err := ar.Remove(ctx, place); err != nil {
				return err
			}
		}
	}
	places, err := st.RemoveArchived(ctx, l.ID, number, time.Now())
	for _, place := range places { // it may have come to be another one meanwhile
		err = errors.Join(err, ar.Remove(ctx, place))
	}
	return err
}

// there leaves out what was removed.
func there(posts iter.Seq2[store.Archived, error]) iter.Seq2[store.Archived, error] {
	return func(yield func(store.Archived, error) bool) {
		for p, err := range posts {
			if err == nil && !p.Removed.IsZero() {
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
}
