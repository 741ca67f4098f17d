package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/mailfile"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/pipeline"
	"github.com/mlist/mlist/sdk/message"
)

func (a *app) archiveImport() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "import LIST FILE|-",
		Short: "take the posts of an mbox into the archive",
		Long: `Takes the messages of an mbox, which may be compressed with gzip, into the archive, with the list's next numbers: import
before the first post to keep the order. A line "From " starts a message only if it has a date and follows an empty
line. Its date is when the post came; where it cannot be (1970, or to come), that is what the message's Received or Date
says. Lines end in CRLF in the archive, as in mail. What is in the archive already, or was removed from it, is not taken a second time, so that an import can be run again.`,
		Example: "  mlist archive import dev@lists.example.org /var/lib/mailman/archives/private/dev.mbox/dev.mbox\n" +
			"  mlist archive import dev@lists.example.org --dry-run dev.mbox.gz",
		Args: between(2, 2, "the address of a list, and a file"),
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be taken")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withArchive(cmd, args[0], func(st store.Store, l *list.List, ar archive.Archive) error {
			in, size, err := a.openMbox(args[1])
			if err != nil {
				return err
			}
			defer in.Close()
			i := &importer{app: a, cmd: cmd, store: st, list: l, archive: ar, dry: dry, size: size}
			return closing(i.run(in), i.close)
		})
	}
	return c
}

// mboxFile counts what is read of a file, compressed or not.
type mboxFile struct {
	io.Reader
	file io.Closer
	raw  *counter
}

func (m *mboxFile) Close() error { return m.file.Close() }

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// openMbox opens a file, and tells its size if that is known.
func (a *app) openMbox(path string) (*mboxFile, int64, error) {
	var in io.ReadCloser = io.NopCloser(a.in)
	size := int64(-1)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
	}
	m := &mboxFile{file: in, raw: &counter{r: in}}
	b := bufio.NewReader(m.raw)
	m.Reader = b
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		zip, err := gzip.NewReader(b)
		if err != nil {
			in.Close()
			return nil, 0, fmt.Errorf("%s: %w", path, err)
		}
		m.Reader = zip
	}
	return m, size, nil
}

// importBatch is how many posts get their numbers in one transaction. So many of them are put at
// once, each into a file that is synced: disks sync several in the time of one. A post that is
// larger than importWhole waits for none.
const (
	importBatch  = 100
	importAtOnce = 16
	importWhole  = 256 << 10
)

// importer is an import that is under way.
type importer struct {
	*app
	cmd     *cobra.Command
	store   store.Store
	list    *list.List
	archive archive.Archive
	dry     bool
	size    int64

	temp        *os.File // the message at hand: it may be larger than memory
	batch       []store.Archived
	puts        errgroup.Group  // of the batch
	seen        map[string]bool // hashes of Message-IDs in the batch
	added, have int64
}

func (i *importer) close() error {
	if i.temp == nil {
		return nil
	}
	return errors.Join(i.temp.Close(), os.Remove(i.temp.Name()))
}

func (i *importer) run(in *mboxFile) (err error) {
	if i.temp, err = os.CreateTemp("", "mlist-import-*"); err != nil {
		return err
	}
	p := newProgress(i.err)
	defer p.clear()
	i.seen = map[string]bool{}
	i.batch = make([]store.Archived, 0, importBatch) // it stays where it is
	i.puts.SetLimit(importAtOnce)
	defer func() { _ = i.puts.Wait() }() // the temporary file goes; flush has the error
	m := mailfile.NewReader(in)
	for {
		from, err := m.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = i.take(i.cmd.Context(), from, m)
		}
		if err != nil {
			return i.stopped(err)
		}
		part := -1.0
		if i.size > 0 {
			part = float64(in.raw.n) / float64(i.size)
		}
		p.show(i.added+i.have+int64(len(i.batch)), part)
	}
	if err := i.flush(i.cmd.Context()); err != nil {
		return i.stopped(err)
	}
	p.clear()
	done := "added"
	if i.dry {
		done = "would be added"
	}
	if i.json {
		return printJSON(i.cmd.OutOrStdout(), map[string]any{"added": i.added, "existing": i.have, "dry_run": i.dry})
	}
	_, err = fmt.Fprintf(i.cmd.OutOrStdout(), "%s %s, %s there already.\n", count(i.added, "post", "posts"), done, thousands(i.have))
	return err
}

func (i *importer) stopped(err error) error {
	return withHint(err, "%s taken before that; an import can be run again.", count(i.added, "post was", "posts were"))
}

// take takes a message.
func (i *importer) take(ctx context.Context, from mailfile.From, r io.Reader) error {
	if err := i.temp.Truncate(0); err != nil {
		return err
	}
	if _, err := i.temp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(i.temp, sum), mailfile.WithCRLF(r))
	if err != nil {
		return err
	}
	block, _, err := message.Split(i.temp, size)
	if err != nil && !errors.Is(err, message.ErrHeaderTooLong) {
		return err
	}
	h := message.ParseHeader(block)
	at := pipeline.Arrived(h, from.Time, time.Now()).Truncate(time.Microsecond)
	post := store.Archived{Entry: "import-" + hex.EncodeToString(sum.Sum(nil)[:16]), Received: at, Kept: pipeline.Describe(h, at)}
	if has, err := i.has(ctx, post); err != nil || has {
		i.have++
		return err
	}
	i.seen[post.Hash] = true
	i.batch = append(i.batch, post)
	if !i.dry {
		if err := i.put(ctx, &i.batch[len(i.batch)-1], size); err != nil {
			return err
		}
	}
	if len(i.batch) == importBatch {
		return i.flush(ctx)
	}
	return nil
}

// put puts the message at hand into the archive, or has it put.
func (i *importer) put(ctx context.Context, p *store.Archived, size int64) error {
	text := io.NewSectionReader(i.temp, 0, size)
	do := func() error {
		kept, err := i.archive.Put(ctx, archive.Key{List: i.list.Address.String(), At: p.Received, Name: p.Entry}, func(w io.Writer) error {
			_, err := io.Copy(w, text)
			return err
		})
		p.Place, p.Size, p.SHA256 = kept.Place, kept.Size, kept.SHA256
		return err
	}
	if size > importWhole {
		return do()
	}
	whole := make([]byte, size)
	if _, err := text.ReadAt(whole, 0); err != nil && err != io.EOF {
		return err
	}
	text = io.NewSectionReader(bytes.NewReader(whole), 0, size)
	i.puts.Go(do)
	return nil
}

// has tells whether a post with this Message-ID is or was in the archive.
func (i *importer) has(ctx context.Context, p store.Archived) (bool, error) {
	if p.Hash == "" {
		return false, nil // the store knows the entry
	}
	if i.seen[p.Hash] {
		return true, nil
	}
	for _, err := range i.store.Archived(ctx, i.list.ID, store.ArchiveFilter{Hash: p.Hash}) {
		return err == nil, err
	}
	return false, nil
}

func (i *importer) flush(ctx context.Context) error {
	if err := i.puts.Wait(); err != nil {
		return err
	}
	if i.dry {
		i.added += int64(len(i.batch))
		i.batch = i.batch[:0] // seen stays: nothing is in the archive that would say so
		return nil
	}
	added, err := i.store.ImportPosts(ctx, i.list.ID, i.batch)
	if err != nil {
		return err
	}
	i.added += int64(added)
	i.have += int64(len(i.batch) - added)
	i.batch = i.batch[:0]
	clear(i.seen)
	return nil
}
