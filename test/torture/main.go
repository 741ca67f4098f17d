// Command torture tries to make mlist lose mail or send it twice.
//
// It runs a whole installation, posts through LMTP without pause, and kills daemons and
// plugins with SIGKILL at random instants, so many times; a daemon is started again at
// once. The recording sink that stands for the MTA fails at random too, the disk is full
// now and then, and syncs fail. When all is delivered, every accepted post is compared with
// what the sink got, the archive with both, and the bounces that lists know of with those
// that came. Run it by `make torture ROUNDS=20`; -seed repeats a run's choices (not its
// instants).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

var (
	rounds  = flag.Int("rounds", 20, "how often something is killed, in each part")
	seed    = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of all random choices")
	lists   = flag.Int("lists", 4, "lists posted to")
	members = flag.Int("members", 60, "members of each list")
	only    = flag.String("only", "", "run only the parts with these words in their name")
	keep    = flag.Bool("keep", false, "keep the directory when all is well, too")
)

func main() {
	if len(os.Args) > 3 && os.Args[1] == under {
		fail(runUnder(os.Args[2], os.Args[3:]))
	}
	flag.Parse()
	if err := ownMounts(); err != nil {
		fail(err)
	}
	fmt.Printf("torture: seed %d\n", *seed)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute+time.Duration(*rounds)*15*time.Second)
	defer cancel()
	dist, err := harness.Build(ctx)
	if err != nil {
		fail(err)
	}
	one, three := [][]string{{"serve"}}, [][]string{{"lmtpd"}, {"pipeline"}, {"outbound"}}
	parts := []part{
		{name: "one process, a sound MTA", daemons: one},
		{name: "one process, an MTA that fails at random", daemons: one, faults: faults},
		{name: "three processes, an MTA that fails at random", daemons: three, faults: faults},
		{name: "three outbound daemons whose segments move, an MTA that fails at random",
			daemons: append(three, []string{"outbound"}, []string{"outbound"}), faults: faults},
		{name: "one process, a disk that is full now and then", daemons: one, faults: faults, small: true},
		{name: "three processes, a disk that is full now and then", daemons: three, faults: faults, small: true},
		{name: "one process, syncs that fail", daemons: one, faults: faults, sick: 0.1},
		{name: "three processes, syncs that fail", daemons: three, faults: faults, sick: 0.1},
	}
	for _, p := range parts {
		if *only != "" && !strings.Contains(p.name, *only) {
			continue
		}
		if p.small && os.Geteuid() != 0 {
			fmt.Printf("%s: left out, for a file system to fill needs root\n", p.name)
			continue
		}
		if err := p.run(ctx, dist); err != nil {
			fail(fmt.Errorf("%s: %w", p.name, err))
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "torture:", err)
	os.Exit(1)
}

var faults = sink.Faults{
	Greeting421: 0.01, Mail4xx: 0.05, Rcpt4xx: 0.02, Data4xx: 0.05,
	DropAtRcpt: 0.001, DropInData: 0.05, DropBeforeEnd: 0.02,
}

// part is one way in which mlist is run and the MTA behaves.
type part struct {
	name    string
	daemons [][]string // arguments of the processes
	faults  sink.Faults
	small   bool    // all lies on a file system that is full now and then
	sick    float64 // the chance that a sync fails
}

func (p part) run(ctx context.Context, dist string) error {
	rnd := rand.New(rand.NewPCG(*seed, 2))
	p.faults.Seed = *seed
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Faults: p.faults, Refuse: []string{refused}})
	if err != nil {
		return err
	}
	defer mta.Close()
	dir, remove, err := harness.TempDir("torture")
	if err != nil {
		return err
	}
	w := &world{dir: dir, dist: dist, args: p.daemons, sick: p.sick}
	defer w.end()
	if err := w.begin(ctx, mta.Addr().String(), p.small); err != nil {
		return err
	}
	accepted, kills, err := w.storm(ctx, rnd)
	if err != nil {
		return err
	}
	if err := w.drain(ctx); err != nil {
		return err
	}
	bounces, err := w.checkBounces(ctx)
	if err != nil {
		return err
	}
	digests, err := w.checkKept(ctx, accepted, mta.Transactions)
	if err != nil {
		return err
	}
	report := checker.Compare(append(accepted, digests...), mta.Transactions())
	fmt.Printf("%s: %d posts accepted and archived, %d digests, %d bounces counted, %d kills of daemons, %d of plugins%s, %d faults of the MTA: %s\n",
		p.name, len(accepted), len(digests), bounces, kills.daemons, kills.plugins, w.troubles(), mta.Stats().Faults, report)
	if !report.OK() {
		return fmt.Errorf("mail was lost or doubled; what is left is in %s", dir)
	}
	w.end()
	if !*keep {
		remove()
	}
	return nil
}

// world is an installation with its daemons and lists.
type world struct {
	dir     string
	dist    string
	disk    *disk             // nil if it is as large as the machine's
	syncs   *syncs            // nil if all work
	sick    float64           // the chance that one does not
	options []harness.Options // of each daemon
	moves   int
	daemons []*harness.Mlist
	args    [][]string
	lists   []string
	members []string

	posts, reported map[string]int // posts and reports that were accepted, by list
	again           int            // reports that may have come twice
}

// begin installs and starts all.
func (w *world) begin(ctx context.Context, mta string, small bool) (err error) {
	if small {
		if w.disk, err = mountDisk(w.dir); err != nil {
			return err
		}
	}
	var command []string
	if w.sick > 0 {
		if w.syncs, err = newSyncs(w.dir, *seed); err != nil {
			return err
		}
		if command, err = w.syncs.command(); err != nil {
			return err
		}
	}
	for i := range w.args {
		// Each process has a log and segments of its own; the installation is the same.
		w.options = append(w.options, harness.Options{MTA: mta, Config: fmt.Sprintf("mlist%d.toml", i), Under: command, Set: map[string]string{
			"outbound.recipients_per_transaction": "10",
			"outbound.retry_min":                  `"50ms"`,
			"outbound.retry_max":                  `"500ms"`,
			"pipeline.max_tries":                  "1000",
			"spool.min_free":                      `"0"`, // the disk is to be full to the last octet
			"control.listen":                      fmt.Sprintf(`"unix:%s/run/control%d.sock"`, w.dir, i),
		}})
	}
	w.cut(nil)
	for _, o := range w.options {
		m, err := harness.Install(w.dir, w.dist, o)
		if err != nil {
			return err
		}
		w.daemons = append(w.daemons, m)
	}
	for i := range *members {
		w.members = append(w.members, fmt.Sprintf("member%d@net%d.test", i, i%7))
	}
	if err := w.makeLists(ctx); err != nil {
		return err
	}
	for i, m := range w.daemons {
		if err := m.StartDaemon(ctx, w.args[i]...); err != nil {
			return err
		}
	}
	return nil
}

// makeLists creates the lists, with their members and those two who bounce.
func (w *world) makeLists(ctx context.Context) error {
	w.members = append(w.members, reported)
	admin := w.daemons[0]
	for i := range *lists {
		name := fmt.Sprintf("list%d@lists.test", i)
		w.lists = append(w.lists, name)
		settings := append([]string{"list", "create", name, "default_nonmember_action=accept", "bounce_unkeyed=count"}, digestSettings...)
		settings = append(settings, copySettings[i%len(copySettings)]...)
		if _, err := admin.Command(ctx, nil, settings...); err != nil {
			return err
		}
		if _, err := admin.Command(ctx, nil, "member", "add", name, reader(name), "--mode", "mime_digests"); err != nil {
			return err
		}
		all := strings.Join(append(w.members, refused), "\n") + "\n"
		if _, err := admin.Command(ctx, strings.NewReader(all), "member", "add", name, "--file", "-"); err != nil {
			return err
		}
	}
	return nil
}

// end kills all, and leaves nothing mounted. It may be called again.
func (w *world) end() {
	for _, m := range w.daemons {
		m.Kill()
	}
	if w.syncs != nil {
		w.syncs.close()
		w.syncs = nil
	}
	if w.disk != nil {
		if err := w.disk.unmount(); err != nil {
			fmt.Fprintln(os.Stderr, "torture: unmount:", err)
		}
		w.disk = nil
	}
}

// troubles says what else went wrong on purpose.
func (w *world) troubles() string {
	s := ""
	if w.moves > 0 {
		s += fmt.Sprintf(", segments moved %d times", w.moves)
	}
	if w.disk != nil {
		s += fmt.Sprintf(", the disk was full %d times", w.disk.n)
	}
	return s + w.syncs.String()
}

type killed struct{ daemons, plugins int }

// storm posts and kills until all rounds are done.
func (w *world) storm(ctx context.Context, rnd *rand.Rand) ([]checker.Accepted, killed, error) {
	var mu sync.Mutex
	var accepted []checker.Accepted
	enough := make(chan struct{})
	posting, cancel := context.WithCancel(ctx)
	defer cancel()
	w.posts, w.reported = map[string]int{}, map[string]int{}
	if w.syncs != nil {
		w.syncs.sickness(w.sick)
		defer w.syncs.sickness(0)
	}
	done := make(chan error, 2)
	go func() { done <- w.reports(posting, enough) }()
	go func() {
		_, err := inject.Run(posting, inject.Options{
			Stop: enough,
			Addr: "unix:" + w.daemons[0].LMTP, Lists: w.lists, Sender: "author@net.test", Tag: "torture",
			Messages: 1 << 30, Connections: 4, Size: 2000, Pause: 20 * time.Millisecond,
			Accepted: func(id, list string, _ time.Duration) {
				mu.Lock()
				accepted = append(accepted, checker.Accepted{MessageID: id, Recipients: w.members})
				w.posts[list]++
				mu.Unlock()
			},
		})
		done <- err
	}()
	var kills killed
	for range *rounds {
		select {
		case err := <-done:
			return nil, kills, fmt.Errorf("posting ended: %w", err)
		case <-ctx.Done():
			return nil, kills, ctx.Err()
		case <-time.After(time.Duration(rnd.IntN(400)) * time.Millisecond):
		}
		if err := w.kill(ctx, rnd, &kills); err != nil {
			return nil, kills, err
		}
	}
	if w.disk != nil {
		if err := w.disk.empty(); err != nil {
			return nil, kills, err
		}
	}
	close(enough)
	err := errors.Join(<-done, <-done)
	return accepted, kills, err
}

// kill kills a plugin, or some daemons at once, which are then started again.
func (w *world) kill(ctx context.Context, rnd *rand.Rand, kills *killed) error {
	if w.outbounds() > 1 && rnd.IntN(3) == 0 {
		return w.move(rnd)
	}
	if w.disk != nil && rnd.IntN(2) == 0 {
		if w.disk.full {
			return w.disk.empty()
		}
		return w.disk.fill(rnd)
	}
	if rnd.IntN(4) == 0 {
		kills.plugins += w.killPlugins()
		return nil
	}
	chosen := rnd.Perm(len(w.daemons))[:1+rnd.IntN(len(w.daemons))]
	for _, i := range chosen {
		w.daemons[i].Kill()
		kills.daemons++
	}
	slices.Sort(chosen)
	for _, i := range chosen {
		if err := w.restart(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// restart starts a daemon that was killed, again and again, as a service manager would: it
// is refused while another has not yet given up what was moved from that to this one, while
// there is no room, and if a sync fails.
func (w *world) restart(ctx context.Context, i int) error {
	for end := time.Now().Add(stuck); ; {
		err := w.daemons[i].StartDaemon(ctx, w.args[i]...)
		moved := w.moves > 0 && strings.Contains(w.daemons[i].Log(), "belongs to outbound")
		full := w.disk != nil && w.disk.full
		if err == nil || !moved && !full && w.syncs == nil || time.Now().After(end) {
			return err
		}
		if full {
			if err := w.disk.empty(); err != nil {
				return err
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// copySettings are how lists differ in the copies that members get.
var copySettings = [][]string{nil, {"verp_delivery_interval=1"}, {"personalize=full", "footer=for %(user_address)s"}}

// outbounds is how many outbound daemons there are beside each other.
func (w *world) outbounds() int {
	n := 0
	for _, a := range w.args {
		if a[0] == "outbound" {
			n++
		}
	}
	return n
}

// cut gives each of the outbound daemons a part of the hash space: equal ones, or with rnd
// other ones each time.
func (w *world) cut(rnd *rand.Rand) {
	n := w.outbounds()
	if n < 2 {
		return
	}
	cuts := make([]int, n+1)
	for i := range n {
		cuts[i] = i * 0x10000 / n
		if rnd != nil && i > 0 {
			cuts[i] += rnd.IntN(0x4000) - 0x2000
		}
	}
	cuts[n] = 0x10000
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if rnd != nil {
		order = rnd.Perm(n)
	}
	k := 0
	for i, a := range w.args {
		if a[0] == "outbound" {
			w.options[i].Set["outbound.segments"] = fmt.Sprintf(`"%04x-%04x"`, cuts[order[k]], cuts[order[k]+1]-1)
			k++
		}
	}
}

// move cuts the hash space anew while mail flows.
func (w *world) move(rnd *rand.Rand) error {
	w.cut(rnd)
	for i, o := range w.options {
		if _, err := harness.Install(w.dir, w.dist, o); err != nil {
			return err
		}
		if w.args[i][0] == "outbound" {
			if err := syscall.Kill(w.daemons[i].PID(), syscall.SIGHUP); err != nil {
				return fmt.Errorf("hang up on %s: %w", w.args[i], err)
			}
		}
	}
	w.moves++
	return nil
}

// killPlugins kills every child process of the daemons.
func (w *world) killPlugins() int {
	n := 0
	for _, m := range w.daemons {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", m.PID()))
		for _, file := range tasks {
			children, _ := os.ReadFile(file)
			for _, pid := range strings.Fields(string(children)) {
				if killPID(pid) == nil {
					n++
				}
			}
		}
	}
	return n
}

// stuck is how long nothing may move before torture gives up.
const stuck = 30 * time.Second

// drain waits until nothing is left in any queue.
func (w *world) drain(ctx context.Context) error {
	before, moved := "", time.Now()
	for {
		left := w.left()
		if left == "" {
			break
		}
		if left != before {
			before, moved = left, time.Now()
		}
		if time.Since(moved) > stuck {
			return fmt.Errorf("for %s nothing has moved: there is %s in %s\n%s", stuck, left, w.dir, w.logs())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: there is still %s in %s\n%s", ctx.Err(), left, w.dir, w.logs())
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, q := range []string{"held", "failed"} {
		if n := count(filepath.Join(w.daemons[0].Spool, q)); n > 0 {
			return fmt.Errorf("%d entries in %s of %s\n%s", n, q, w.dir, w.logs())
		}
	}
	return nil
}

// left says what is in the queues; nothing if they are empty.
func (w *world) left() string {
	var left []string
	for _, q := range []string{"incoming", "outgoing", "bounces"} {
		if n := count(filepath.Join(w.daemons[0].Spool, q)); n > 0 {
			left = append(left, fmt.Sprintf("%d in %s", n, q))
		}
	}
	return strings.Join(left, ", ")
}

// count counts the entries or posts in a directory. Names with a dot are their states,
// of which a kill may leave one without its entry.
func count(dir string) int {
	files, _ := os.ReadDir(dir)
	n := 0
	for _, f := range files {
		if !strings.Contains(f.Name(), ".") {
			n++
		}
	}
	return n
}

// logs is the end of each daemon's log.
func (w *world) logs() string {
	var b strings.Builder
	for i, m := range w.daemons {
		lines := strings.Split(m.Log(), "\n")
		fmt.Fprintf(&b, "%s:\n  %s\n", w.args[i], strings.Join(lines[max(0, len(lines)-15):], "\n  "))
	}
	return b.String()
}
