package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/postfix"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/mailauth"
)

// patient is what the doctor looks at.
type patient struct {
	app   *app
	cfg   *config.Config
	path  string // of the configuration
	now   time.Time
	units string // where systemd's services are enabled
	dns   mailauth.Resolver
	// statfs tells how full a file system is.
	statfs func(path string, st *unix.Statfs_t) error
	// probe is where Postfix takes mail, for a probe through the whole loop; none when empty.
	probe string
	store store.Store // nil: it does not open
	found []postfix.Finding
}

func (p *patient) add(cure, format string, args ...any) {
	p.found = append(p.found, postfix.Finding{Cause: fmt.Sprintf(format, args...), Cure: cure})
}

func (a *app) doctorCommand() *cobra.Command {
	var dir, port string
	var noDNS, probe bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "look for what is wrong with this installation, and say what to do about it",
		Long: `Looks at the configuration, whose files are whose, the plugins, the disk, the store's schema, sockets, segments, the clock, DNS
(SPF, DKIM and DMARC of the lists' domains) and, where there is a Postfix, at what ` + "`mlist postfix check --no-probe`" + ` does;
with --probe it sends a message through the whole loop, too. Each finding is a sentence that names the cause, and another with the cure. It ends with status 1 if there is any.`,
		Example: "  mlist doctor\n  mlist doctor --probe\n  mlist doctor --json | jq '.[].cause'",
		Args:    between(0, 0, "nothing"),
	}
	c.Flags().StringVar(&dir, "postfix", "", "Postfix's configuration directory; that of its default instance when empty")
	c.Flags().BoolVar(&probe, "probe", false, "where nothing is wrong with Postfix's configuration, send a message through the whole loop")
	c.Flags().StringVar(&port, "smtp", "127.0.0.1:25", "where Postfix takes mail, for the probe")
	c.Flags().BoolVar(&noDNS, "no-dns", false, "ask no DNS")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		p := &patient{app: a, now: time.Now(), statfs: unix.Statfs, units: "/etc/systemd/system/multi-user.target.wants"}
		p.path, _ = a.path()
		if probe {
			p.probe = port
		}
		if !noDNS {
			var err error
			if p.dns, err = mailauth.FromEnvironment(); err != nil {
				return err
			}
		}
		return a.printFindings(cmd.OutOrStdout(), p.examine(cmd.Context(), dir), "Nothing is wrong that a doctor can see.")
	}
	return c
}

// examine looks at everything that what was found before still lets it look at.
func (p *patient) examine(ctx context.Context, postfixDir string) []postfix.Finding {
	cfg, err := p.app.load()
	if err != nil {
		p.add("Correct it, `mlist config check` tells when it is right, and `mlist reload`. A running mlist goes on with what it has.", "The configuration is not taken: %s.", strings.TrimSuffix(inOneLine(err.Error()), "."))
		return p.found
	}
	p.cfg = cfg
	p.owners()
	p.readable()
	p.plugins()
	p.disk()
	p.schema(ctx)
	if p.store != nil {
		defer p.store.Close()
	}
	p.sockets(ctx)
	p.segments()
	p.clock()
	p.sharedSpool(ctx)
	p.wayBack(ctx, postfixDir)
	domains := p.lists(ctx)
	p.siteAddress(ctx, domains)
	p.stageOrder()
	p.domains(ctx, domains)
	return p.found
}

// owners compares what mlist keeps with whose it should be.
func (p *patient) owners() {
	uid, gid, ok := ownerOf(p.cfg)
	if !ok {
		p.add("Install the package, or `install -d -o mlist -g mlist /var/lib/mlist /var/spool/mlist`; `mlist serve` makes the rest.", "There is neither a spool (%s) nor a store (%s).", p.cfg.Spool.URL, p.cfg.Store.URL)
		return
	}
	name := strconv.Itoa(int(uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	for _, dir := range p.keeps() {
		p.owned(dir, name, uid, gid)
	}
}

// keeps are the directories that mlist writes to, as far as they are there.
func (p *patient) keeps() (dirs []string) {
	archive, _ := strings.CutPrefix(p.cfg.Archive.URL, "dir:")
	all := []string{spoolPath(p.cfg), storeDir(p.cfg), archive}
	if p.cfg.Trace.Enabled {
		all = append(all, tracePath(p.cfg))
	}
	for _, dir := range all {
		inside := slices.ContainsFunc(dirs, func(d string) bool {
			rel, err := filepath.Rel(d, dir)
			return err == nil && filepath.IsLocal(rel)
		})
		if _, err := os.Stat(dir); dir != "" && !inside && !errors.Is(err, fs.ErrNotExist) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// readable looks for files of the configuration that mlist's user cannot read: root can.
func (p *patient) readable() {
	uid, gid, ok := ownerOf(p.cfg)
	if !ok || uid == 0 {
		return
	}
	who := reader{uid: uid, groups: []string{strconv.Itoa(int(gid))}}
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		if all, err := u.GroupIds(); err == nil {
			who.groups = append(who.groups, all...)
		}
	}
	for _, file := range append([]string{p.path}, pathsIn(p.cfg)...) {
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue // whoever needs it tells
		}
		for at, mode := file, uint32(unix.R_OK); ; at, mode = filepath.Dir(at), unix.X_OK {
			if !who.may(at, mode) {
				p.add(fmt.Sprintf("`chgrp %d %[2]s` and `chmod g+rX %[2]s`.", gid, at), "mlist's user cannot read %s, which the daemons need: %s keeps it out.", file, at)
				break
			}
			if at == filepath.Dir(at) {
				break
			}
		}
	}
}

// reader is somebody who is not root.
type reader struct {
	uid    uint32
	groups []string
}

// may tells whether they may read or enter (unix.R_OK, X_OK), as far as the permissions tell.
func (r reader) may(path string, what uint32) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return true // nobody knows
	}
	switch {
	case st.Uid == r.uid:
		what <<= 6
	case slices.Contains(r.groups, strconv.Itoa(int(st.Gid))):
		what <<= 3
	}
	return st.Mode&what != 0
}

// maxLook bounds how many files are looked at.
const maxLook = 100_000

// owned looks for the first file below a directory that mlist could not change.
func (p *patient) owned(dir, name string, uid, gid uint32) {
	looked := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // went meanwhile
		} else if err != nil {
			return err
		}
		if looked++; looked > maxLook {
			return filepath.SkipAll
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		if st.Uid != uid && uid != 0 {
			p.add(fmt.Sprintf("`chown -R %d:%d %s`. Commands that root runs become mlist's user by themselves.", uid, gid, dir), "%s does not belong to %s, mlist's user, who can then not read or change it.", path, name)
			return filepath.SkipAll
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o002 != 0 {
			p.add("`chmod o-w "+path+"`.", "Everybody may write in %s, and so put mail or lists there.", path)
			return filepath.SkipAll
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o700 != 0o700 {
			p.add("`chmod u+rwx "+path+"`.", "%s, mlist's user, may not read and write in %s.", name, path)
			return filepath.SkipAll
		}
		return nil
	})
	if err != nil {
		p.add("Run it as root.", "Not all of %s can be looked at: %v.", dir, err)
	}
}

func (p *patient) plugins() {
	c := p.cfg.Pipeline
	const cure = "`chown root: FILE` and `chmod go-w FILE`, for the file and the directories above it; or install the package again."
	programs, err := host.Programs(c.PluginDir, c.CheckOwner, c.PluginSHA256)
	if err != nil {
		p.add(cure, "The plugins are not started: %v.", err)
	}
	for _, prog := range programs {
		if prog.Refused != nil {
			p.add(cure, "A plugin is not started: %v.", prog.Refused)
		}
	}
	if err == nil && len(programs) == 0 {
		p.add("Install the package again; pipeline.plugin_dir says where plugins are.", "There is no plugin in %s: no post can be prepared.", c.PluginDir)
	}
}

func (p *patient) disk() {
	seen := map[string]bool{}
	for _, dir := range p.keeps() {
		var st unix.Statfs_t
		if p.statfs(dir, &st) != nil {
			continue
		}
		id := fmt.Sprint(st.Fsid)
		if seen[id] {
			continue
		}
		seen[id] = true
		p.full(dir, &st)
	}
}

// full judges a file system.
func (p *patient) full(dir string, st *unix.Statfs_t) {
	const cure = "Make room: `mlist archive` and `mlist queue ls failed` show what may go, trace.max_size bounds the trace. Until then the MTA is told 4xx and keeps the mail."
	if block := uint64(st.Bsize); isLow(st.Bavail*block, st.Blocks*block) {
		p.add(cure, "Only %d %% of the disk of %s is free.", st.Bavail*100/st.Blocks, dir)
	}
	if st.Files > 0 && st.Ffree < st.Files/diskLow {
		p.add(cure, "Only %d %% of the file names (inodes) of the disk of %s are free: each message needs a few.", st.Ffree*100/st.Files, dir)
	}
}

func (p *patient) schema(ctx context.Context) {
	p.store = nil
	st, err := sqlstore.Open(ctx, p.cfg.Store.URL, sqlstore.Options{})
	var old *sqlstore.SchemaError
	switch {
	case err == nil:
		p.store = st
	case errors.As(err, &old):
		switch {
		case old.Have == 0:
			p.add("`systemctl start mlist`, or create a list: that makes it.", "There is no store yet at %s.", p.cfg.Store.URL)
		case old.Have < old.Want:
			p.add("`systemctl restart mlist`, and every other mlist on this store: the daemons bring it up to date when they start.", "The store's schema is %d, older than this mlist's %d.", old.Have, old.Want)
		default:
			p.add("Install the version of mlist that it was last used with.", "The store's schema is %d, newer than this mlist's %d.", old.Have, old.Want)
		}
	default:
		p.add(databaseCure(p.cfg.Store.URL, "store.url"), "The store cannot be opened: %s.", inOneLine(err.Error()))
	}
}

// sockets looks for others on mlist's addresses.
func (p *patient) sockets(ctx context.Context) {
	live, err := ask(ctx, p.cfg)
	if errors.Is(err, fs.ErrPermission) {
		return // only who runs mlist may ask
	}
	if err != nil {
		p.add("`systemctl restart mlist`.", "A running mlist does not answer: %v.", err)
		return
	}
	if len(live) > 0 {
		st := liveStatus(live)
		st.judgeLive()
		for _, problem := range st.Problems {
			p.add("`mlist status` shows it while it lasts, and `journalctl -u mlist` what came before.", "What runs is not well: %s.", strings.TrimSuffix(problem, "."))
		}
		return
	}
	p.add("`systemctl start mlist`; `journalctl -u mlist` says why if it does not stay.", "mlist is not running, or does not answer.")
	for key, addresses := range map[string][]string{"lmtpd.listen": p.cfg.LMTPD.Listen, "milter.listen": p.cfg.Milter.Listen} {
		for _, a := range addresses {
			network, address, err := listen.Split(a)
			if err != nil {
				continue // config has told
			}
			c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, address)
			if err != nil {
				continue
			}
			held := heldForUs(c)
			c.Close()
			if held {
				continue
			}
			p.add("`ss -lxtnp` tells which; stop it, or choose another address in "+key+".", "Another program listens at %s, so that mlist cannot start (%s).", a, key)
		}
	}
}

// heldForUs tells whether the first process of the machine listens at the other end: it
// holds the socket for mlist, and hands it over.
func heldForUs(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cerr == nil && err == nil && peer.Pid == 1
}

// segments looks at the services that will start with the machine.
func (p *patient) segments() {
	files, _ := filepath.Glob(filepath.Join(p.units, "mlist-outbound@*.service"))
	if _, err := os.Stat(filepath.Join(p.units, "mlist.service")); err == nil && len(files) > 0 {
		p.add("`systemctl disable --now` the one or the other.", "mlist.service and %s are both enabled: the first runs all daemons, so that two want the same segments.", filepath.Base(files[0]))
	}
	for i, file := range files {
		mine, err := instanceOf(file)
		if err != nil {
			p.add("Name it by its segments: mlist-outbound@0000-7fff.", "%s: %v.", filepath.Base(file), err)
			continue
		}
		for _, other := range files[:i] {
			if theirs, err := instanceOf(other); err == nil && len(mine.Without(theirs)) == 0 || err == nil && overlap(mine, theirs) {
				p.add("Give each its own, such as 0000-7fff and 8000-ffff: `systemctl disable --now` one, `systemctl enable --now mlist-outbound@RANGE`.",
					"%s and %s want the same segments: whichever starts second ends at once.", filepath.Base(other), filepath.Base(file))
			}
		}
	}
}

// instanceOf is what stands between @ and .service.
func instanceOf(unit string) (segment.Set, error) {
	_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(unit), ".service"), "@")
	var s config.Segments
	err := s.UnmarshalText([]byte(fromUnitName(name)))
	return s.Set, err
}

// overlap tells whether two sets have a key in common.
func overlap(a, b segment.Set) bool { return a.Without(b).String() != a.String() }

// clockSlack is what clocks of machines that share files may differ by.
const clockSlack = 5 * time.Minute

// clock compares the time with what was written last: that cannot be in the future.
func (p *patient) clock() {
	for _, path := range []string{storePath(p.cfg), spoolPath(p.cfg), p.path, filepath.Join(spoolPath(p.cfg), "incoming")} {
		info, err := os.Stat(path)
		if err == nil && info.ModTime().After(p.now.Add(clockSlack)) {
			p.add("Set it, and have it kept right (chrony, systemd-timesyncd). Retries, digests and the ages of bounces go by it, and receivers judge signatures by it.",
				"The clock is wrong, or was: it says %s, and %s is from %s.", moment(p.now), path, moment(info.ModTime()))
			return
		}
	}
}

// wayBack looks at the MTA: at Postfix's configuration where that is the one.
func (p *patient) wayBack(ctx context.Context, dir string) {
	address, tcp := strings.CutPrefix(p.cfg.Outbound.MTA, "smtp://")
	w, err := p.app.wiring(ctx, dir)
	if err == nil && p.store != nil && (dir != "" || onThisMachine(address)) {
		found, err := p.app.checkPostfix(ctx, w)
		if err == nil && len(found) == 0 && p.probe != "" {
			found, err = p.app.probe(ctx, w, p.probe)
		}
		if err == nil {
			p.found = append(p.found, found...)
			return
		}
		p.add("`mlist postfix check` alone may say more.", "Postfix's configuration cannot be looked at: %v.", err)
	}
	if !tcp {
		return
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		p.add("outbound.mta names the MTA's port that takes prepared mail; with Postfix `mlist postfix setup` makes it.", "Nobody answers at %s, the hand-back port: prepared mail waits in outgoing, and no member gets any.", address)
		return
	}
	c.Close()
}

// changing are the stages of ours that change what a signature covers.
var changing = []string{"mime", "cleanse", "subject", "reply-to", "list-headers", "footer", "dmarc"}

// stageOrder looks for stages that undo what one before them is for.
func (p *patient) stageOrder() {
	for _, last := range []struct{ stage, why string }{
		{"dmarc", "authors whose signatures it breaks keep their address, and receivers refuse their posts"},
		{"sign", "the signatures and the seal do not hold for what it makes of posts"},
	} {
		at := slices.Index(p.cfg.Pipeline.Stages, last.stage)
		for _, s := range p.cfg.Pipeline.Stages[at+1:] {
			if at >= 0 && slices.Contains(changing, s) {
				p.add("Put it before in pipeline.stages, as the default has it (`mlist config --defaults`).", "Stage %s comes after %s: %s.", s, last.stage, last.why)
			}
		}
	}
}

// onThisMachine tells whether HOST:PORT is one of the loopback interface.
func onThisMachine(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback())
}

// domains asks DNS for what receivers look at.
func (p *patient) domains(ctx context.Context, domains []string) {
	if p.dns == nil || len(domains) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, d := range domains {
		p.domain(ctx, d)
	}
	files, err := p.app.signKeys("")
	if err != nil && len(p.cfg.Plugin["sign"]) == 0 {
		err = nil // there are none, which is told below
	}
	if len(files) > 0 {
		err = p.app.eachKey(nil, func(f mailauth.KeyFile, k *mailauth.Key) error {
			if err := k.CheckPublished(ctx, p.dns); err != nil && !f.Standby {
				p.add("`mlist dkim show` prints the record for the zone.", "The key %s signs, and receivers cannot check it: %v.", f, err)
			}
			return nil
		})
	}
	if err != nil {
		p.add("`mlist dkim keygen` makes keys; they belong to mlist's user.", "A key that signs cannot be used: %v.", err)
		return
	}
	for _, d := range domains {
		if len(mailauth.KeyFilesFor(files, d)) == 0 {
			p.add("`mlist dkim keygen` makes a key and says what to do with it; nothing, if your MTA signs.", "Mail from %s is not signed (DKIM) by mlist: large receivers want that.", d)
		}
	}
}

// domain looks at one domain's SPF and DMARC.
func (p *patient) domain(ctx context.Context, d string) {
	spf, err := p.records(ctx, d, "v=spf1")
	switch {
	case err != nil:
		p.add("Ask again later; `dig TXT "+d+"` tells.", "DNS does not tell of %s: %v.", d, err)
		return
	case len(spf) == 0:
		p.add(fmt.Sprintf("Publish one, such as: %s. TXT \"v=spf1 mx a -all\", with the addresses that your mail leaves from.", d), "%s has no SPF record: bounce addresses are in it, and large receivers want one.", d)
	case len(spf) > 1:
		p.add("Leave one.", "%s has %d SPF records, which counts as an error.", d, len(spf))
	}
	if dmarc, err := mailauth.Lookup(ctx, p.dns, d); err == nil && dmarc.At == "" {
		p.add(fmt.Sprintf("Publish one, such as: _dmarc.%s. TXT \"v=DMARC1; p=none\".", d), "%s has no DMARC record: large receivers want one of who sends much.", d)
	}
}

// records are those of a name that begin so.
func (p *patient) records(ctx context.Context, name, begin string) ([]string, error) {
	all, err := p.dns.LookupTXT(ctx, name)
	if errors.Is(err, mailauth.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range all {
		if strings.HasPrefix(strings.ToLower(r), begin) {
			out = append(out, r)
		}
	}
	return out, nil
}
