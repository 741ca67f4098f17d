package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/backup"
	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// storeMember is the store in a backup.
const storeMember = "store/mlist.db"

// ours are flags to open what lies where mlist's user writes, with the rights of root: a link
// there does not get into a backup what it leads to.
const ours = unix.O_NOFOLLOW | unix.O_NONBLOCK

type backupOptions struct{ noArchive, noDatabase bool }

func (a *app) backupCommand() *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use:   "backup FILE|DIR",
		Short: "write lists, queues, archives, configuration and keys to one file, while mlist runs",
		Long: `Writes the store, the queues, the archives, the configuration and the files that it names (DKIM keys, templates) to one tar
file, of one instant, while mlist runs; "-" is standard output. In a directory it makes a file named after the machine and the
time. The file is read back and compared before it gets its name: what has that name is whole. It has private keys and
private mail in it, and is for its owner alone.

What PostgreSQL keeps is for its own tools: --no-database leaves it out.`,
		Example: `  mlist backup /var/backups/mlist.tar
  mlist backup /var/backups/ && find /var/backups -name 'mlist-*.tar' -mtime +30 -delete
  mlist backup - | zstd | ssh backup@safe.example.org 'cat > mlist.tar.zst'
  mlist backup verify /var/backups/mlist.tar`,
		Args: between(1, 1, "a file or a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			return a.backup(ctx, cmd.OutOrStdout(), args[0], o)
		},
	}
	c.Flags().BoolVar(&o.noArchive, "no-archive", false, "leave the archives out: their files never change, and rsync copies them as well")
	c.Flags().BoolVar(&o.noDatabase, "no-database", false, "leave out what is in PostgreSQL")
	c.AddCommand(a.backupVerify())
	return c
}

// backupJSON is what was written or read.
type backupJSON struct {
	File  string           `json:"file"`
	Made  time.Time        `json:"made"`
	Host  string           `json:"hostname"`
	Files int64            `json:"files"`
	Bytes int64            `json:"bytes"`
	Parts map[string]int64 `json:"parts"`           // files in each
	Still float64          `json:"still,omitempty"` // seconds for which nothing was written to the store
}

func (a *app) backupVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "read a backup to its end and compare it with its checksums",
		Long:  "Reads a backup to its end, and compares it with its checksums. The status is 1 if it is not whole. Nothing is unpacked.",
		Example: `  mlist backup verify /var/backups/mlist.tar
  zstd -dc mlist.tar.zst | mlist backup verify -`,
		Args: between(1, 1, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.openBackup(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			about, sum, err := backup.Read(in, nil)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return a.printBackup(cmd.OutOrStdout(), "is whole", backupJSON{File: args[0], Made: about.Made, Host: about.Hostname, Files: sum.Files, Bytes: sum.Bytes, Parts: sum.Parts})
		},
	}
}

func (a *app) openBackup(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.in), nil
	}
	return os.Open(name)
}

func (a *app) printBackup(w io.Writer, what string, b backupJSON) error {
	if a.json {
		return printJSON(w, b)
	}
	fmt.Fprintf(w, "%s %s: %s, of %s at %s.\n", printable(b.File, false), what, count(b.Files, "file", "files"), printable(b.Host, false), moment(b.Made))
	for _, part := range backup.Parts {
		if n := b.Parts[part]; n > 0 {
			fmt.Fprintf(w, "  %-8s %s\n", part, count(n, "file", "files"))
		}
	}
	if b.Still > 0 {
		fmt.Fprintf(w, "Nothing was written to the store for %v meanwhile.\n", time.Duration(b.Still*float64(time.Second)).Round(time.Millisecond))
	}
	return nil
}

// backup writes a backup under another name, and gives it its own when it is whole.
func (a *app) backup(ctx context.Context, out io.Writer, target string, o backupOptions) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	path, onDisk := spoolDir(c)
	if !o.noDatabase && (storePath(c) == "" || !onDisk) {
		return withHint(errors.New("PostgreSQL keeps the store or the spool: its own tools back that up, such as pg_dump or pg_basebackup"),
			"--no-database writes the rest; docs/operations.md tells in which order.")
	}
	now := time.Now()
	b := &backing{app: a, cfg: c, opts: o, now: now, json: backupJSON{File: target, Made: now.UTC(), Host: c.Hostname, Parts: map[string]int64{}}}
	if onDisk {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return withHint(fmt.Errorf("there is no spool at %s", path), "mlist's daemons make it: `mlist serve`. `mlist config` shows what is configured.")
		}
		b.spoolPath = path
	}
	if target == "-" {
		if isTerminal(a.out) {
			return usageError{errors.New("a backup is nothing for a terminal")}
		}
		if b.work, err = os.MkdirTemp("", "mlist-backup-"); err != nil {
			return err
		}
		defer os.RemoveAll(b.work)
		return b.write(ctx, out)
	}
	if info, err := os.Stat(target); err == nil && info.IsDir() {
		target = nameIn(target, fmt.Sprintf("mlist-%s-%s", c.Hostname, now.UTC().Format("20060102T150405Z")))
	}
	b.json.File = target
	if err := b.file(ctx, target); err != nil {
		return err
	}
	return a.printBackup(out, "is written and read back", b.json)
}

// nameIn is a name for a new backup in a directory, which one of the same second may have too.
func nameIn(dir, name string) string {
	target := filepath.Join(dir, name+".tar")
	for n := 2; ; n++ {
		if _, err := os.Lstat(target); err != nil {
			return target
		}
		target = filepath.Join(dir, fmt.Sprintf("%s-%d.tar", name, n))
	}
}

// untilInterrupted ends ctx at the first signal, so that what is half done can be cleaned up; the
// second one ends the command at once.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// backing is a backup under way.
type backing struct {
	app       *app
	cfg       *config.Config
	opts      backupOptions
	now       time.Time
	spoolPath string // "" if the spool is in a database
	queues    *dir.Spool
	work      string // a directory for what is not in the backup yet
	out       *backup.Writer
	snapshot  *dir.Snapshot
	waiting   waiting
	json      backupJSON
}

// file writes the backup to a file that is there only when it is whole.
func (b *backing) file(ctx context.Context, target string) (err error) {
	if _, err := os.Lstat(target); err == nil {
		return withHint(fmt.Errorf("%s is there already", target), "A backup is never written over another: name a new file, or a directory.")
	}
	if b.work, err = os.MkdirTemp(filepath.Dir(target), ".mlist-backup-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	part := filepath.Join(b.work, "partial.tar")
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = b.write(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, _, err = backup.Read(f, func(backup.About, backup.Member, io.Reader) error { return ctx.Err() })
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("backup to %s: %w", target, err)
	}
	if err := os.Link(part, target); err != nil { // not rename: that would replace
		return err
	}
	return syncPath(filepath.Dir(target))
}

func syncPath(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write takes everything of one instant, and then writes it.
func (b *backing) write(ctx context.Context, w io.Writer) error {
	if b.spoolPath != "" {
		sp, err := dir.Open(b.spoolPath, dir.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer sp.Close() // and the snapshot goes
		b.queues = sp
	}
	if err := b.freeze(ctx); err != nil {
		return err
	}
	defer b.waiting.close()
	path, _ := b.app.path()
	out, err := backup.NewWriter(w, backup.About{Made: b.now, Version: versionText(), Hostname: b.cfg.Hostname, Config: path, Parts: b.parts()})
	if err != nil {
		return err
	}
	b.out = out
	p := newProgress(b.app.err)
	defer p.clear()
	for _, part := range []func(context.Context, *progress) error{b.settings, b.store, b.spool, b.archive} {
		if err := part(ctx, p); err != nil {
			out.Abort()
			return err
		}
	}
	b.json.Files, b.json.Bytes = out.Files-1, out.Bytes // without what it says of itself
	return out.Close()
}

// parts are what the backup may have files of.
func (b *backing) parts() []string {
	parts := []string{"config"}
	if storePath(b.cfg) != "" {
		parts = append(parts, "store")
	}
	if b.spoolPath != "" {
		parts = append(parts, "spool")
	}
	if b.cfg.Archive.URL != "" && !b.opts.noArchive {
		parts = append(parts, "archive")
	}
	return parts
}

// freeze copies the store, and has the snapshot of the queues taken at the same instant.
func (b *backing) freeze(ctx context.Context) error {
	still := func(ctx context.Context, places []string) (err error) {
		began := time.Now()
		if b.queues != nil {
			if b.snapshot, err = b.queues.Take(ctx); err != nil {
				return err
			}
		}
		if ar := openArchive(b.cfg); ar != nil && !b.opts.noArchive {
			err = b.waiting.keep(b.work, ar.Path, places)
		}
		b.json.Still = time.Since(began).Seconds()
		return err
	}
	if storePath(b.cfg) == "" {
		err := still(ctx, nil)
		b.json.Still = 0 // for nobody
		return err
	}
	styles, err := list.ReadStyles(b.cfg.Styles)
	if err != nil {
		return err
	}
	st, err := sqlstore.Open(ctx, b.cfg.Store.URL, sqlstore.Options{Styles: styles})
	if err != nil {
		return err
	}
	return closing(st.Copy(ctx, filepath.Join(b.work, "mlist.db"), still), st.Close)
}

func (b *backing) store(_ context.Context, _ *progress) error {
	if storePath(b.cfg) == "" {
		return nil
	}
	path := filepath.Join(b.work, "mlist.db")
	if err := b.add(storeMember, path, ours); err != nil {
		return err
	}
	return os.Remove(path) // its room may be needed
}

func (b *backing) spool(ctx context.Context, p *progress) error {
	if b.snapshot == nil {
		return nil
	}
	for f, err := range b.snapshot.Files() {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		err = b.out.Add(backup.Member{Name: "spool/" + f.Name, Size: f.Size, Mode: 0o600}, r)
		if err = closing(err, r.Close); err != nil {
			return err
		}
		b.added("spool", p)
	}
	return nil
}

func (b *backing) archive(ctx context.Context, p *progress) error {
	ar := openArchive(b.cfg)
	if ar == nil || b.opts.noArchive {
		return nil
	}
	err := b.waiting.each(func(place string, size int64, r io.Reader) error {
		b.added("archive", p)
		return b.out.Add(backup.Member{Name: "archive/" + place, Size: size, Mode: 0o640}, r)
	})
	if err != nil {
		return err
	}
	for place, err := range ar.Places(ctx) {
		if err != nil {
			return err
		}
		if b.waiting.has(place.Name) {
			continue
		}
		err := b.add("archive/"+place.Name, ar.Path(place.Name), ours)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		b.added("archive", p)
	}
	return nil
}

// add adds a file as it is, whose the named one is.
func (b *backing) add(name, path string, flags int) error {
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	m := backup.Member{Name: name, Size: info.Size(), Mode: info.Mode().Perm()}
	m.User, m.Group = ownerNames(info)
	if name == storeMember {
		b.json.Parts["store"]++
	}
	return b.out.Add(m, f)
}

func (b *backing) added(part string, p *progress) {
	b.json.Parts[part]++
	p.show(b.out.Files, -1)
}

// waiting are files of the archive that would go with the next digest: they are copied while
// nothing is written to the store.
type waiting struct {
	file   *os.File
	places map[string][2]int64 // offset and size
}

func (w *waiting) has(place string) bool { _, ok := w.places[place]; return ok }

// keep copies them to a file in a directory.
func (w *waiting) keep(work string, path func(place string) string, places []string) error {
	f, err := os.OpenFile(filepath.Join(work, "waiting"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w.file, w.places = f, map[string][2]int64{}
	at := int64(0)
	for _, place := range places {
		if w.has(place) {
			continue // the same post in another role
		}
		from, err := os.OpenFile(path(place), os.O_RDONLY|ours, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // damage, which mlist archive verify tells of
		}
		if err != nil {
			return err
		}
		n, err := io.Copy(f, from)
		if err = closing(err, from.Close); err != nil {
			return err
		}
		w.places[place] = [2]int64{at, n}
		at += n
	}
	return nil
}

func (w *waiting) each(do func(place string, size int64, r io.Reader) error) error {
	for place, at := range w.places {
		if err := do(place, at[1], io.NewSectionReader(w.file, at[0], at[1])); err != nil {
			return err
		}
	}
	return nil
}

func (w *waiting) close() {
	if w.file != nil {
		w.file.Close()
	}
}
