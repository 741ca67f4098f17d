package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	archivedir "github.com/mlist/mlist/internal/archive/dir"
	"github.com/mlist/mlist/internal/backup"
	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

func (a *app) restoreCommand() *cobra.Command {
	var r restoring
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "put back what mlist backup has written; mlist must be stopped",
		Long: `Reads a backup to its end and compares it with its checksums; only then it puts back the configuration, and the store,
queues and archives to where that says. With --keep-config the configuration that is there stays and says where: so a backup
goes to other places, or to another machine.

It refuses if mlist runs, or if there are lists, mail or archives already. --force moves those aside, into a directory
.before-restore-TIME beside them. Until everything is ready beside its place, nothing is changed.

The queues are those of the backup's instant: what was still to go out then goes out now, also to whoever got it since.
` + "`mlist queue ls`" + ` shows it before the daemons start, and ` + "`mlist queue drop`" + ` takes out what should not.`,
		Example: `  systemctl stop mlist.socket mlist.service && mlist restore /var/backups/mlist.tar && systemctl start mlist
  mlist restore --keep-config /var/backups/mlist.tar
  mlist restore --force /var/backups/mlist.tar`,
		Args: between(1, 1, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.app, r.file, r.now = a, args[0], time.Now()
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			return r.run(ctx, cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&r.force, "force", false, "move what is there aside")
	c.Flags().BoolVar(&r.keep, "keep-config", false, "leave the configuration as it is, and restore to where it says")
	return c
}

// restoring is a restore under way.
type restoring struct {
	app         *app
	file        string
	force, keep bool
	now         time.Time

	about   backup.About
	sum     backup.Summary
	path    string         // of the configuration
	config  []byte         // that of the backup; nil if it has none
	cfg     *config.Config // that says where things go
	places  []*place
	outside []string // files that are left in the backup
}

// place is a directory that a part of the backup goes to.
type place struct {
	part   string
	dir    string
	names  func() ([]string, error) // what is in the way there, by name
	stage  string                   // a directory in dir where everything is made ready
	root   *os.Root                 // of stage
	uid    int                      // of what is made; -1 if that is whoever makes it
	gid    int
	dirs   fs.FileMode
	files  fs.FileMode
	member func(rest string) error // refuses names that are none of the part
}

func (r *restoring) run(ctx context.Context, out io.Writer) error {
	if err := r.look(); err != nil {
		return err
	}
	if err := r.plan(ctx); err != nil {
		return err
	}
	if err := r.refuse(ctx); err != nil {
		return err
	}
	err := r.unpack(ctx)
	if err == nil {
		err = r.swap()
	}
	for _, p := range r.places {
		if p.root != nil {
			err = errors.Join(err, p.root.Close(), os.RemoveAll(p.stage))
		}
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", r.file, err)
	}
	return r.tell(out)
}

// look reads the whole backup, and its configuration.
func (r *restoring) look() error {
	f, err := os.Open(r.file)
	if err != nil {
		return err
	}
	defer f.Close()
	r.about, r.sum, err = backup.Read(f, func(about backup.About, m backup.Member, body io.Reader) (err error) {
		switch {
		case m.Name == insidePrefix+filepath.Base(about.Config):
			if m.Size > maxNamed {
				return fmt.Errorf("its configuration has %d octets", m.Size)
			}
			r.config, err = io.ReadAll(body)
		case strings.HasPrefix(m.Name, outsidePrefix) && len(r.outside) < 1000:
			r.outside = append(r.outside, m.Name)
		}
		return err
	})
	if err != nil {
		return withHint(fmt.Errorf("%s: %w", r.file, err), "Nothing was changed.")
	}
	return nil
}

// plan finds out where everything goes.
func (r *restoring) plan(ctx context.Context) (err error) {
	r.path, _ = r.app.path()
	if r.path, err = filepath.Abs(r.path); err != nil {
		return err
	}
	switch {
	case r.keep || r.config == nil:
		if r.cfg, err = r.app.load(); err != nil {
			return err
		}
	default:
		if r.cfg, err = config.Parse(r.path, r.config); err != nil {
			return withHint(fmt.Errorf("the backup's configuration: %w", err), "--keep-config uses the one of this machine.")
		}
	}
	if !r.keep && r.config != nil {
		r.places = append(r.places, &place{part: "config", dir: filepath.Dir(r.path), dirs: 0o755, names: r.configInTheWay,
			member: func(rest string) error { return local(rest) }})
	}
	path := storePath(r.cfg)
	if r.sum.Parts["store"] > 0 && path == "" {
		return errors.New("the backup's store is a file, and the configuration has it in PostgreSQL")
	} else if path != "" {
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		r.places = append(r.places, &place{part: "store", dir: filepath.Dir(path), dirs: 0o750, files: 0o600,
			names:  func() ([]string, error) { return r.storeInTheWay(ctx, path) },
			member: func(rest string) error { return only(rest, strings.TrimPrefix(storeMember, "store/")) }})
	}
	queues, onDisk := spoolDir(r.cfg)
	if r.sum.Parts["spool"] > 0 && !onDisk {
		return errors.New("the backup's spool is a directory, and the configuration has it in PostgreSQL")
	} else if onDisk {
		r.places = append(r.places, &place{part: "spool", dir: queues, dirs: 0o700, files: 0o600, member: dir.CheckFile,
			names: func() ([]string, error) { return spoolInTheWay(queues) }})
	}
	archive, ok := strings.CutPrefix(r.cfg.Archive.URL, "dir:")
	if r.sum.Parts["archive"] > 0 && !ok {
		return errors.New("the backup has archives, and the configuration keeps none: archive.url is empty")
	} else if ok {
		r.places = append(r.places, &place{part: "archive", dir: archive, dirs: 0o750, files: 0o640, member: archivedir.CheckPlace,
			names: func() ([]string, error) { return visibleNames(archive) }})
	}
	r.places = slices.DeleteFunc(r.places, func(p *place) bool { return r.sum.Parts[p.part] == 0 && p.part != "spool" })
	return nil
}

func local(rest string) error {
	if !filepath.IsLocal(rest) {
		return fmt.Errorf("%.200q leads elsewhere", rest)
	}
	return nil
}

func only(rest, name string) error {
	if rest != name {
		return fmt.Errorf("%.200q is not %s", rest, name)
	}
	return nil
}

// refuse makes sure that nothing is in the way.
func (r *restoring) refuse(ctx context.Context) error {
	const stopped = "Stop it: `systemctl stop mlist.socket mlist.service`, or its daemons."
	asked := []*config.Config{r.cfg}
	if here, err := r.app.load(); err == nil && here.Control.Listen != r.cfg.Control.Listen {
		asked = append(asked, here) // what runs goes by it
	}
	for _, c := range asked {
		live, silent := ask(ctx, c)
		if silent != nil {
			return withHint(silent, stopped) // something is there
		}
		if len(live) > 0 {
			return withHint(fmt.Errorf("%s of mlist is running (pid %d)", strings.Join(live[0].Daemons, ", "), live[0].PID), stopped)
		}
	}
	var inTheWay []string
	for _, p := range r.places {
		if p.part == "spool" {
			if err := r.nobodyOwns(ctx, p.dir); err != nil {
				return withHint(err, stopped)
			}
		}
		names, err := p.names()
		if err != nil {
			return err
		}
		for _, n := range names {
			inTheWay = append(inTheWay, filepath.Join(p.dir, n))
		}
	}
	if len(inTheWay) > 0 && !r.force {
		return withHint(fmt.Errorf("this is no empty place: there is %s", strings.Join(inTheWay, ", ")), "--force moves it aside. Nothing was changed.")
	}
	return nil
}

// nobodyOwns makes sure that no daemon serves a spool.
func (r *restoring) nobodyOwns(ctx context.Context, path string) error {
	if _, err := os.Stat(filepath.Join(path, "owners")); err != nil {
		return nil // nobody ever did
	}
	sp, err := dir.Open(path, dir.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	owners, err := sp.Owners(ctx)
	if err == nil && len(owners) > 0 {
		err = fmt.Errorf("%s of mlist is running (pid %d)", owners[0].Name, owners[0].PID)
	}
	return closing(err, sp.Close)
}

// configInTheWay are the files that would be replaced and are neither the same nor as
// installed.
func (r *restoring) configInTheWay() ([]string, error) {
	var names []string
	err := r.read(func(m backup.Member, body io.Reader) error {
		rest, ok := strings.CutPrefix(m.Name, insidePrefix)
		if !ok || m.Size > maxNamed {
			return nil
		}
		rest = r.renamed(rest)
		have, err := os.ReadFile(filepath.Join(filepath.Dir(r.path), filepath.FromSlash(rest)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		want, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		var installed bytes.Buffer
		if err := config.WriteDefaults(&installed); err != nil {
			return err
		}
		if !bytes.Equal(have, want) && !bytes.Equal(have, installed.Bytes()) {
			names = append(names, rest)
		}
		return nil
	})
	return names, err
}

// renamed gives the configuration file the name that it is to have here.
func (r *restoring) renamed(rest string) string {
	if rest == filepath.Base(r.about.Config) {
		return filepath.Base(r.path)
	}
	return rest
}

// storeInTheWay is a store that has a list, or that cannot be looked into.
func (r *restoring) storeInTheWay(ctx context.Context, path string) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name := []string{filepath.Base(path)}
	styles, err := list.ReadStyles(r.cfg.Styles)
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	st, err := sqlstore.Open(ctx, "sqlite:"+path, sqlstore.Options{Styles: styles})
	if err != nil {
		return name, nil
	}
	defer st.Close()
	for range st.AllLists(ctx, "") {
		return name, nil // a list, or an error
	}
	return nil, nil
}

// spoolInTheWay are the queues that have something in them.
func spoolInTheWay(path string) (names []string, err error) {
	for _, q := range spool.Queues {
		there, err := visibleNames(filepath.Join(path, string(q)))
		if err != nil {
			return nil, err
		}
		if len(there) > 0 {
			names = append(names, string(q))
		}
	}
	return names, nil
}

// visibleNames are the names in a directory that do not start with a dot; none if it is not there.
func visibleNames(path string) (names []string, err error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (r *restoring) tell(out io.Writer) error {
	if r.app.json {
		return printJSON(out, map[string]any{"file": r.file, "made": r.about.Made, "hostname": r.about.Hostname, "files": r.sum.Files, "parts": r.sum.Parts, "left": r.outside})
	}
	fmt.Fprintf(out, "Restored %s, of %s at %s.\n", count(r.sum.Files, "file", "files"), printable(r.about.Hostname, false), moment(r.about.Made))
	for _, p := range r.places {
		fmt.Fprintf(out, "  %-8s %s\n", p.part, p.dir)
	}
	for _, name := range r.outside {
		fmt.Fprintf(out, "Left in the backup, being outside %s: /%s\n", filepath.Dir(r.path), printable(strings.TrimPrefix(name, outsidePrefix), false))
	}
	_, err := fmt.Fprintln(out, "Next: `mlist queue ls` shows what will go out; `mlist doctor`; start mlist; `mlist postfix tables` tells Postfix which lists there are.")
	return err
}

// read reads the backup once more.
func (r *restoring) read(file func(backup.Member, io.Reader) error) error {
	f, err := os.Open(r.file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, err = backup.Read(f, func(_ backup.About, m backup.Member, body io.Reader) error { return file(m, body) })
	return err
}

// syncAll syncs the file system of a directory: one call for however many files.
func syncAll(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
