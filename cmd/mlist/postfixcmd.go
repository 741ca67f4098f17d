package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/postfix"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

func (a *app) postfixCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "postfix",
		Short: "wire mlist to Postfix, and check that",
		Example: `  mlist postfix setup --domain lists.example.org
  mlist postfix setup --domain lists.example.org --apply
  mlist postfix check`,
	}, a.postfixSetup(), a.postfixCheck(), a.postfixTables())
}

// wiring is what the subcommands know of both sides.
type wiring struct {
	cfg    *config.Config
	path   string // of mlist.toml
	record string // directory of what was set up; root's
	tables string // directory of the tables; mlist's
	p      *postfix.Instance
}

func (a *app) wiring(ctx context.Context, dir string) (*wiring, error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	path, _ := a.path()
	w := &wiring{cfg: c, path: path, record: recordDir(path), tables: filepath.Join(storeDir(c), "postfix")}
	if w.p, err = postfix.Find(ctx, dir); err != nil {
		return nil, err
	}
	return w, nil
}

// recordDir is beside the configuration: who can change that can change this, and nobody else.
func recordDir(configPath string) string { return filepath.Join(filepath.Dir(configPath), "postfix") }

func storeDir(c *config.Config) string {
	if path := storePath(c); path != "" {
		return filepath.Dir(path)
	}
	return "/var/lib/mlist"
}

func (a *app) postfixSetup() *cobra.Command {
	var domains []string
	var dir string
	var apply, undo, noMilter, live bool
	c := &cobra.Command{
		Use:   "setup",
		Short: "show what Postfix needs to know of mlist, and put it into its configuration",
		Long: `Shows which changes to main.cf and master.cf send the mail of these domains to mlist and take prepared mail back, and why;
with --apply it makes them, after copies of both files were put beside mlist's configuration. A domain that also has users
(it is in mydestination or virtual_mailbox_domains) keeps them: only the lists' own addresses go to mlist. Running it again
changes only what is missing. By default Postfix knows lists from files that mlist writes at every change; --live has it ask mlist, too, for
what they do not have, so that a list is known at once on all machines that share a store. --undo takes back what was applied, or with --domain what is one domain's, and nothing that was changed since.`,
		Example: `  mlist postfix setup --domain lists.example.org
  mlist postfix setup --domain lists.example.org --domain example.com --apply
  mlist postfix setup --domain lists.example.org --json | jq -r '.changes[].after'
  mlist postfix setup --undo
  mlist postfix setup --undo --domain example.com`,
		Args: between(0, 0, "nothing"),
	}
	flags := c.Flags()
	flags.StringArrayVar(&domains, "domain", nil, "a domain of lists, once or more")
	flags.StringVar(&dir, "postfix", "", "Postfix's configuration directory; that of its default instance when empty")
	flags.BoolVar(&apply, "apply", false, "make the changes")
	flags.BoolVar(&undo, "undo", false, "take back what was applied, all of it or that for a --domain")
	flags.BoolVar(&live, "live", false, "have Postfix ask mlist for addresses that its tables do not have, by socketmap")
	flags.BoolVar(&noMilter, "no-milter", false, "leave smtpd_milters alone")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		for i, d := range domains {
			parsed, err := address.ParseDomain(d)
			if err == nil && strings.ContainsAny(parsed, "[]") {
				err = fmt.Errorf("%s is an address of a machine, and no domain", d)
			}
			for label := range strings.SplitSeq(parsed, ".") {
				if err == nil && strings.Trim(label, "-") != label {
					err = fmt.Errorf("%q: no name of a domain begins or ends with a dash", label)
				}
			}
			if err != nil {
				return usageError{fmt.Errorf("--domain: %w", err)}
			}
			domains[i] = parsed
		}
		if !undo && len(domains) == 0 || undo && apply {
			return usageError{errors.New("want --domain, or --undo, which may have a --domain, too")}
		}
		w, err := a.wiring(cmd.Context(), dir)
		if err != nil {
			return err
		}
		if apply || undo {
			if err := w.mayChange(); err != nil {
				return err
			}
			unlock, err := postfix.Lock(cmd.Context(), w.record)
			if err != nil {
				return err
			}
			defer unlock()
			// From here on it is done as a whole.
			cmd.SetContext(context.WithoutCancel(cmd.Context()))
		}
		if undo {
			return a.undoPostfix(cmd, w, domains)
		}
		return a.setUpPostfix(cmd, w, domains, wishes{apply: apply, milter: !noMilter, live: live})
	}
	return c
}

// mayChange tells whether Postfix's configuration, and the record beside mlist's, can be changed
// by whoever asks, before anything is.
func (w *wiring) mayChange() error {
	for _, dir := range []string{w.p.Dir, filepath.Dir(w.record)} {
		if err := unix.Access(dir, unix.W_OK); err != nil {
			hint := "It is root's to do: sudo mlist postfix setup …"
			if os.Geteuid() == 0 {
				hint = "It is on a disk that is mounted read-only, or made immutable; who keeps it so has to change it."
			}
			return withHint(fmt.Errorf("%s cannot be changed: %w", dir, err), "%s", hint)
		}
	}
	return nil
}

// setupJSON is what `postfix setup --json` prints.
type setupJSON struct {
	Changes []postfix.Change `json:"changes"`
	Notes   []string         `json:"notes"`
	Config  []need           `json:"config"` // what mlist.toml lacks
	Applied bool             `json:"applied"`
}

// wishes are what was asked of setup.
type wishes struct{ apply, milter, live bool }

// need is an address that a key of mlist.toml lacks.
type need struct {
	Section string `json:"section"` // the key is listen
	Address string `json:"address"`
	Why     string `json:"why"`
}

func (a *app) setUpPostfix(cmd *cobra.Command, w *wiring, domains []string, want wishes) error {
	ctx := cmd.Context()
	o := postfix.Options{Domains: domains, HandBack: strings.TrimPrefix(w.cfg.Outbound.MTA, "smtp://"),
		Limit: w.cfg.Outbound.RecipientsPerTransaction, Tables: postfix.Tables{Dir: w.tables}}
	if r, err := postfix.ReadRecord(w.record); err != nil {
		return err
	} else if r != nil {
		o.Tables = r.Tables
	}
	if !strings.HasPrefix(w.cfg.Outbound.MTA, "smtp://") {
		return withHint(errors.New("outbound.mta is not smtp://HOST:PORT"), "The hand-back port is one of Postfix's smtpd: smtp://127.0.0.1:10025, for instance.")
	}
	o.LMTP = mtaAddress(w.cfg.LMTPD.Listen[0])
	own := []need{} // of mlist's own configuration
	if want.milter && len(w.cfg.Milter.Listen) > 0 {
		where, lacks, err := w.milterAddress(ctx)
		if err != nil {
			return err
		}
		o.Milter = where
		if lacks != "" {
			own = append(own, need{"milter", lacks, "Postfix's smtpd is in a chroot, and reaches only what is there"})
		}
	}
	if want.live {
		where, lacks := w.liveAddress()
		o.Live = where
		if lacks != "" {
			own = append(own, need{"socketmap", lacks, "Postfix asks there for lists that its tables do not have"})
		}
	}
	plan, err := w.p.Plan(ctx, o)
	if err != nil {
		return err
	}
	out := setupJSON{Changes: append([]postfix.Change{}, plan.Changes...), Notes: append([]string{}, plan.Notes...), Config: own, Applied: want.apply}
	if want.apply {
		if err := a.applyPostfix(cmd, w, plan, domains, own); err != nil {
			return err
		}
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), out)
	}
	printSetup(cmd.OutOrStdout(), w, out)
	return nil
}

// mtaAddress writes an address of a listen key as Postfix does.
func mtaAddress(listen string) string {
	rest, ok := strings.CutPrefix(listen, "tcp:")
	if !ok {
		return listen
	}
	if host, port, err := net.SplitHostPort(rest); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		rest = net.JoinHostPort("127.0.0.1", port) // all of this machine's: Postfix takes one
		if strings.Contains(host, ":") {
			rest = net.JoinHostPort("::1", port)
		}
	}
	return "inet:" + rest
}

// milterAddress is where Postfix's smtpd can reach the milter. In a chroot only what is in
// the queue directory is there; need is the listen address that mlist.toml lacks for it.
func (w *wiring) milterAddress(ctx context.Context) (where, need string, err error) {
	chrooted, err := w.p.SMTPDChrooted(ctx)
	if err != nil {
		return "", "", err
	}
	if !chrooted {
		return mtaAddress(w.cfg.Milter.Listen[0]), "", nil
	}
	queue, err := w.p.Param(ctx, "queue_directory")
	if err != nil {
		return "", "", err
	}
	for _, l := range w.cfg.Milter.Listen {
		if strings.HasPrefix(l, "tcp:") {
			return mtaAddress(l), "", nil
		}
		if inside, ok := strings.CutPrefix(l, "unix:"+queue+"/"); ok {
			return "unix:" + inside, "", nil // Postfix's daemons have their working directory there
		}
	}
	return "unix:mlist/milter.sock", "unix:" + queue + "/mlist/milter.sock", nil
}

// liveAddress is where Postfix can ask whether a list exists; need is the listen address
// that mlist.toml lacks for it.
func (w *wiring) liveAddress() (where, need string) {
	if l := w.cfg.Socketmap.Listen; len(l) > 0 {
		return mtaAddress(l[0]), ""
	}
	dir := "/run/mlist"
	if path, ok := strings.CutPrefix(w.cfg.LMTPD.Listen[0], "unix:"); ok {
		dir = filepath.Dir(path)
	}
	need = "unix:" + filepath.Join(dir, "map.sock")
	return need, need
}

func (a *app) applyPostfix(cmd *cobra.Command, w *wiring, plan *postfix.Plan, domains []string, own []need) error {
	uid, gid, ok := ownerOf(w.cfg)
	if !ok {
		return withHint(fmt.Errorf("there is neither spool nor store: whose are the tables to be?"), "The packages make them; `mlist serve` does, too.")
	}
	// The tables first: Postfix refuses mail for tables that are not there.
	if err := makeDir(w.tables, int(uid), int(gid)); err != nil {
		return err
	}
	for _, n := range own {
		if err := makeDir(filepath.Dir(strings.TrimPrefix(n.Address, "unix:")), int(uid), int(gid)); err != nil {
			return err
		}
		if err := addListen(w.path, w.cfg, n); err != nil {
			return err
		}
	}
	if err := a.writeTablesAs(cmd.Context(), uid, gid, plan.Tables); err != nil {
		return err
	}
	if err := joinGroup(cmd.Context(), w, gid); err != nil {
		return err
	}
	if _, err := w.p.Apply(cmd.Context(), plan, domains, w.record); err != nil {
		return withHint(err, "Nothing was changed in Postfix's configuration.")
	}
	running, err := w.p.Reload(cmd.Context())
	if err == nil && !running {
		fmt.Fprintln(a.err, "mlist: Postfix is not running; what was changed holds when it starts")
	}
	return err
}

// makeDir makes a directory of mlist's, which Postfix's users may search as members of its
// group. It goes by an open directory, for the one above may be mlist's own.
func makeDir(path string, uid, gid int) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.Base(path)
	if err := root.Mkdir(name, 0o750); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return root.Lchown(name, uid, gid)
}

// addListen has a daemon listen at one more address.
func addListen(path string, c *config.Config, n need) error {
	have := c.Milter.Listen
	if n.Section == "socketmap" {
		have = c.Socketmap.Listen
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = nil
	} else if err != nil {
		return err
	}
	next, err := config.SetList(path, text, n.Section, "listen", append(slices.Clone(have), n.Address))
	if err != nil {
		return withHint(err, "Add %q to %s.listen by hand, and run this again.", n.Address, n.Section)
	}
	return replaceFile(path, next)
}

// writeTablesAs writes the tables as the user whose they are.
func (a *app) writeTablesAs(ctx context.Context, uid, gid uint32, t postfix.Tables) error {
	if uid == 0 || os.Geteuid() != 0 {
		_, err := a.updateTables(ctx, t)
		return err
	}
	which, err := json.Marshal(t)
	if err != nil {
		return err
	}
	args := []string{"postfix", "tables", "--tables", string(which)}
	if path, named := a.path(); named {
		args = append([]string{"--config", path}, args...)
	}
	status, err := runAs(uid, gid, args)
	if err == nil && status != 0 {
		err = errors.New("the tables for Postfix could not be written")
	}
	return err
}

// joinGroup puts Postfix's user into mlist's group, by which it reaches the sockets.
func joinGroup(ctx context.Context, w *wiring, gid uint32) error {
	if gid == 0 || os.Geteuid() != 0 {
		return nil
	}
	name, err := w.p.Param(ctx, "mail_owner")
	if err != nil {
		return err
	}
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	groups, err := u.GroupIds()
	if err != nil || slices.Contains(groups, strconv.Itoa(int(gid))) {
		return err
	}
	g, err := user.LookupGroupId(strconv.Itoa(int(gid)))
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "usermod", "--append", "--groups", g.Name, name).CombinedOutput(); err != nil {
		return fmt.Errorf("put %s into the group %s: %w: %s", name, g.Name, err, out)
	}
	return nil
}

func printSetup(out io.Writer, w *wiring, s setupJSON) {
	if len(s.Changes) == 0 && len(s.Config) == 0 {
		fmt.Fprintf(out, "%s has all that mlist needs. `mlist postfix check` tries it.\n", w.p.Dir)
		return
	}
	done := "To be changed in"
	if s.Applied {
		done = "Changed in"
	}
	fmt.Fprintf(out, "%s %s:\n", done, w.p.Dir)
	for _, c := range s.Changes {
		fmt.Fprintf(out, "\n  # %s\n", c.Why)
		if c.Service {
			fmt.Fprintf(out, "  master.cf: %s\n", strings.ReplaceAll(c.After, " -o ", "\n      -o "))
			continue
		}
		if c.Set {
			fmt.Fprintf(out, "  main.cf: - %s = %s\n           + %s = %s\n", c.Name, c.Before, c.Name, c.After)
		} else {
			fmt.Fprintf(out, "  main.cf: + %s = %s\n", c.Name, c.After)
		}
	}
	for _, n := range s.Config {
		fmt.Fprintf(out, "\n  # %s\n  %s: %s.listen has %s, too\n", n.Why, w.path, n.Section, n.Address)
	}
	fmt.Fprintln(out)
	for _, n := range s.Notes {
		fmt.Fprintf(out, "NOTE: %s\n", n)
	}
	if !s.Applied {
		fmt.Fprintln(out, "Nothing was changed. --apply does it, --undo takes it back.")
		return
	}
	fmt.Fprintf(out, "Copies of main.cf and master.cf are in %s. `mlist postfix setup --undo` takes it all back.\n", w.record)
	if len(s.Config) > 0 {
		fmt.Fprintln(out, "mlist has a new socket: systemctl restart mlist.")
	}
	fmt.Fprintln(out, "Next: mlist postfix check")
}

// undoPostfix takes back all, or some domains.
func (a *app) undoPostfix(cmd *cobra.Command, w *wiring, domains []string) error {
	var notes []string
	if len(domains) == 0 {
		var err error
		if notes, err = w.p.Undo(cmd.Context(), w.record); err != nil {
			return err
		}
	}
	var left *postfix.Record
	for _, d := range domains {
		r, more, err := w.p.Leave(cmd.Context(), w.record, d)
		if err != nil {
			return err
		}
		left, notes = r, append(notes, more...)
	}
	if left != nil {
		uid, gid, _ := ownerOf(w.cfg)
		if err := a.writeTablesAs(cmd.Context(), uid, gid, left.Tables); err != nil {
			return err
		}
	}
	if _, err := w.p.Reload(cmd.Context()); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if a.json {
		return printJSON(out, map[string]any{"undone": true, "notes": append([]string{}, notes...)})
	}
	for _, n := range notes {
		fmt.Fprintf(out, "NOTE: %s\n", n)
	}
	if left != nil {
		fmt.Fprintf(out, "%s has what mlist needs for %s, and no longer for %s. Lists there stay, without mail.\n", w.p.Dir, strings.Join(left.Domains, ", "), strings.Join(domains, ", "))
		return nil
	}
	fmt.Fprintf(out, "%s is as it was before mlist. The tables in %s stay.\n", w.p.Dir, w.tables)
	return nil
}

// postfixTables writes the tables now. Commands and daemons do so by themselves.
func (a *app) postfixTables() *cobra.Command {
	var which string
	c := &cobra.Command{
		Use:     "tables",
		Short:   "write the tables by which Postfix knows lists anew",
		Long:    "Whatever changes lists does this by itself, and so does mlist when it starts.",
		Example: "  mlist postfix tables",
		Args:    between(0, 0, "nothing"),
	}
	c.Flags().StringVar(&which, "tables", "", "which, as JSON; by default those that were set up")
	_ = c.Flags().MarkHidden("tables") // for setup, which writes them before it has written anything down
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if which != "" {
			var t postfix.Tables
			if err := json.Unmarshal([]byte(which), &t); err != nil {
				return usageError{fmt.Errorf("--tables: %w", err)}
			}
			_, err := a.updateTables(cmd.Context(), t)
			return err
		}
		path, _ := a.path()
		r, err := postfix.ReadRecord(recordDir(path))
		if err != nil {
			return err
		}
		if r == nil {
			return withHint(errors.New("no tables: nothing was set up"), "`mlist postfix setup` does.")
		}
		c, err := a.load()
		if err != nil {
			return err
		}
		uid, gid, _ := ownerOf(c)
		r.Tables.Anew = true // who asks for it has a reason, such as a disk that was broken
		return a.writeTablesAs(cmd.Context(), uid, gid, r.Tables)
	}
	return c
}

// updateTables writes the tables from the store, if there is one.
func (a *app) updateTables(ctx context.Context, t postfix.Tables) (bool, error) {
	c, err := a.load()
	if err != nil {
		return false, err
	}
	if path := storePath(c); path != "" {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return t.Update(ctx, func(func(address.Address, error) bool) {}, "")
		}
	}
	st, err := sqlstore.Open(ctx, c.Store.URL, sqlstore.Options{})
	if err != nil {
		return false, err
	}
	defer st.Close()
	return t.Update(ctx, listAddresses(ctx, st), c.SiteName)
}

// listAddresses yields the addresses of all lists, with their aliases.
func listAddresses(ctx context.Context, st store.Lists) iter.Seq2[address.Address, error] {
	return func(yield func(address.Address, error) bool) {
		for l, err := range st.AllLists(ctx, "") {
			if err != nil {
				yield(address.Address{}, err)
				return
			}
			aliases, err := st.Aliases(ctx, l.ID)
			if err != nil {
				yield(address.Address{}, err)
				return
			}
			for _, a := range append(aliases, l.Address) {
				if !yield(a, nil) {
					return
				}
			}
		}
	}
}

// refreshTables is for whatever may have changed lists: it does nothing where no tables
// were set up, or where they are as they should be.
func refreshTables(ctx context.Context, configPath string, st store.Lists) (changed bool, err error) {
	r, err := postfix.ReadRecord(recordDir(configPath))
	if err != nil || r == nil {
		return false, err
	}
	return r.Tables.Update(ctx, listAddresses(ctx, st), st.Site())
}

// tablesEvery is how often a daemon looks whether Postfix's tables are as they should be:
// another machine, or a program of somebody's own, may have changed the store.
const tablesEvery = time.Minute

// keepTables keeps Postfix's tables as the store has it.
func (s *server) keepTables(ctx context.Context) {
	tick := time.NewTicker(tablesEvery)
	defer tick.Stop()
	for {
		changed, err := refreshTables(ctx, s.path, s.store)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("Postfix's tables of lists are not up to date", "err", err)
		case changed:
			s.log.Info("Postfix's tables of lists written")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
