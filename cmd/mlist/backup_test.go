package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/backup"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

// fails runs mlist and returns what it said; it must end with an error.
func fails(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("mlist", append([]string{"--config", filepath.Join(dir, "mlist.toml")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("mlist %s: %s", strings.Join(args, " "), out)
	}
	return string(out)
}

// site is an installation whose mail goes to a sink.
func site(t *testing.T, mta *sink.Server, more string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mlist")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	configure(t, dir, fmt.Sprintf("outbound.mta = \"smtp://%s\"\npipeline.plugin_dir = %q\noutbound.recipients_per_transaction = 2\n", mta.Addr(), plugins(t))+more)
	return dir
}

func newSink(t *testing.T, f sink.Faults) *sink.Server {
	t.Helper()
	mta, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true, Faults: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mta.Close() })
	return mta
}

// A backup that is made while posts come and go, and restored elsewhere, has every post that
// was accepted before it began: what had not gone out then goes out now.
func TestABackupUnderLoadLosesNothing(t *testing.T) {
	const posts, members = 36, 5
	// Of what goes out half is put off: the queues are full of all states.
	old := newSink(t, sink.Faults{Seed: 7, Rcpt4xx: 0.5})
	dir := site(t, old, "outbound.retry_min = \"1m\"\n")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	lists := []string{"a@lists.test", "b@lists.test", "c@lists.test"}
	var people []string
	for m := range members {
		people = append(people, fmt.Sprintf("m%d@net.test", m))
	}
	for _, l := range lists {
		command(t, dir, "list", "create", l)
		command(t, dir, append([]string{"member", "add", l}, people...)...)
	}
	command(t, dir, "member", "set", "a@lists.test", "m4@net.test", "--mode", "mime_digests")
	command(t, dir, "list", "set", "b@lists.test", "emergency=true") // its posts are held

	var mu sync.Mutex
	accepted := map[string]string{} // message: list
	some, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := inject.Run(context.WithoutCancel(t.Context()), inject.Options{Addr: "unix:" + filepath.Join(dir, "lmtp.sock"), Lists: lists, Sender: "m0@net.test",
			Messages: posts, Connections: 4, Size: 300, Tag: "t", Pause: 20 * time.Millisecond,
			Accepted: func(id, list string, _ time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				if accepted[strings.Trim(id, "<>")] = list; len(accepted) == posts/2 {
					close(some)
				}
			}})
		done <- err
	}()
	<-some
	mu.Lock()
	before := maps.Clone(accepted)
	mu.Unlock()
	settled := delivered(old)
	file := filepath.Join(dir, "backup.tar")
	command(t, dir, "backup", file)
	out := delivered(old)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if text := fails(t, dir, "restore", "--force", file); !strings.Contains(text, "is running") {
		t.Errorf("a restore under a running mlist: %s", text)
	}
	p.signal(t, syscall.SIGKILL) // the machine is gone
	p.ends(t)

	mta := newSink(t, sink.Faults{})
	elsewhere := site(t, mta, "")
	command(t, elsewhere, "backup", "verify", file)
	command(t, elsewhere, "restore", "--keep-config", file)
	start(t, elsewhere, "serve").says(t, "msg=ready", 1)
	command(t, elsewhere, "queue", "retry", "--all", "outgoing")
	due := map[delivery]bool{}
	for id, list := range before {
		for _, m := range people {
			to := delivery{id, m}
			if list != "b@lists.test" && (list != "a@lists.test" || m != "m4@net.test") && !out[to] {
				due[to] = true
			}
		}
	}
	if len(due) == 0 {
		t.Error("all had gone out before the backup: it shows nothing")
	}
	await(t, mta, func(have map[delivery]bool) string {
		for d := range due {
			if !have[d] {
				return fmt.Sprintf("%s has not come to %s", d.message, d.to)
			}
		}
		return ""
	})
	again := 0
	for d := range delivered(mta) {
		if settled[d] {
			again++
		}
	}
	// Transactions whose replies were in flight when the backup began: 8 connections, 2 recipients.
	if again > 16 {
		t.Errorf("%d copies went out twice that had gone out before the backup", again)
	}
	await(t, mta, func(map[delivery]bool) string {
		held := command(t, elsewhere, "held", "ls", "b@lists.test", "--json")
		for id, list := range before {
			if n, _, _ := strings.Cut(id, "."); list == "b@lists.test" && !strings.Contains(held, `"message `+n+`"`) {
				return id + " is not held any more"
			}
		}
		return ""
	})
	command(t, elsewhere, "digest", "send", "a@lists.test")
	await(t, mta, func(map[delivery]bool) string {
		for _, tr := range mta.Transactions() {
			if !slices.Contains(tr.Recipients, "m4@net.test") || !bytes.Contains(tr.Body, []byte("multipart/digest")) {
				continue
			}
			for id, list := range before {
				if list == "a@lists.test" && !bytes.Contains(tr.Body, []byte(id)) {
					return id + " is not in the digest"
				}
			}
			return ""
		}
		return "there is no digest"
	})
	for _, l := range lists {
		command(t, elsewhere, "archive", "verify", l)
	}
}

// delivery is a message that has come to somebody.
type delivery struct{ message, to string }

func delivered(mta *sink.Server) map[delivery]bool {
	have := map[delivery]bool{}
	for _, tr := range mta.Transactions() {
		for _, r := range tr.Recipients {
			have[delivery{tr.MessageID, r}] = true
		}
	}
	return have
}

// await waits until what missing tells is nothing.
func await(t *testing.T, mta *sink.Server, missing func(map[delivery]bool) string) {
	t.Helper()
	for end := time.Now().Add(2 * bound); ; time.Sleep(50 * time.Millisecond) {
		what := missing(delivered(mta))
		if what == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// backed is an installation with a list, a key and a template, and a backup of it.
func backed(t *testing.T) (dir, file string) {
	t.Helper()
	dir = installed(t, "")
	key := filepath.Join(dir, "dkim", "lists.test.k1.key")
	text := configIn(dir, fmt.Sprintf("pipeline.plugin_dir = %q\n", plugins(t))) + fmt.Sprintf("[[plugin.sign.keys]]\ndomain = \"lists.test\"\nselector = \"k1\"\nkey_file = %q\n", key)
	if err := os.WriteFile(filepath.Join(dir, "mlist.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "dkim", "keygen", "lists.test", "--selector", "k1", "--dir", filepath.Dir(key))
	command(t, dir, "list", "create", "dev@lists.test")
	for path, text := range map[string]string{"templates/site/en/welcome.txt": "Hello.", "stranger.txt": "no file of mlist's", "spool/held/x": "no file of mlist's"} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	file = filepath.Join(dir, "backup.tar")
	command(t, dir, "backup", file)
	return dir, file
}

func TestABackupHasWhatTheConfigurationNames(t *testing.T) {
	dir, file := backed(t)
	var names []string
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the backup: %v, %v", info.Mode(), err)
	}
	if _, _, err := backup.Read(f, func(_ backup.About, m backup.Member, _ io.Reader) error { names = append(names, m.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	want := []string{"config/inside/dkim/lists.test.k1.key", "config/inside/mlist.toml", "config/inside/templates/site/en/welcome.txt", "store/mlist.db"}
	if !slices.Equal(names, want) {
		t.Errorf("it has %v, want %v", names, want)
	}
	if text := fails(t, dir, "backup", file); !strings.Contains(text, "already") {
		t.Errorf("writing over a backup: %s", text)
	}
	command(t, dir, "backup", dir)
	if made, _ := filepath.Glob(filepath.Join(dir, "mlist-lists.test-*.tar")); len(made) != 1 {
		t.Errorf("a directory has %v", made)
	}
	// A path that is not absolute, as people give them.
	cmd := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "backup", "here.tar")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in the working directory: %v: %s", err, out)
	}
	command(t, dir, "backup", "verify", filepath.Join(dir, "here.tar"))
	if left, _ := filepath.Glob(filepath.Join(dir, ".mlist-backup-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestTwoBackupsOfOneSecondAreTwo(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []string{"mlist-x.tar", "mlist-x-2.tar", "mlist-x-3.tar"} {
		name := nameIn(dir, "mlist-x")
		if name != filepath.Join(dir, want) {
			t.Errorf("it is called %s, want %s", name, want)
		}
		must(t, os.WriteFile(name, nil, 0o600))
	}
}

func TestARestoreRefusesAPlaceThatIsNotEmpty(t *testing.T) {
	dir, file := backed(t)
	text := fails(t, dir, "restore", file)
	for _, part := range []string{"mlist.db", "held", "--force"} {
		if !strings.Contains(text, part) {
			t.Errorf("it does not name %s: %s", part, text)
		}
	}
	command(t, dir, "list", "create", "later@lists.test")
	command(t, dir, "restore", "--force", file)
	if ls := command(t, dir, "list", "ls"); !strings.Contains(ls, "dev@lists.test") || strings.Contains(ls, "later@") {
		t.Errorf("the lists are:\n%s", ls)
	}
	for _, pattern := range []string{".before-restore-*/mlist.db", "spool/.before-restore-*/held/x"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) != 1 {
			t.Errorf("%s: %v", pattern, found)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", ".restoring-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// A daemon that owns no segments writes to the spool all the same.
func TestARestoreRefusesWhileAnyDaemonRuns(t *testing.T) {
	dir, file := backed(t)
	p := start(t, dir, "lmtpd")
	p.says(t, "msg=ready", 1)
	if text := fails(t, dir, "restore", "--force", file); !strings.Contains(text, "lmtpd of mlist is running (pid ") || !strings.Contains(text, "systemctl stop") {
		t.Errorf("while lmtpd runs: %s", text)
	}
	p.signal(t, syscall.SIGTERM)
	p.ends(t)
	command(t, dir, "restore", "--force", file)
}

// The whole installation is gone, and the backup brings it to a new place.
func TestARestoreMakesAnInstallation(t *testing.T) {
	dir, file := backed(t)
	aside := dir + ".gone"
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(aside) })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := command(t, dir, "restore", filepath.Join(aside, filepath.Base(file)))
	for _, name := range []string{"mlist.toml", "dkim/lists.test.k1.key", "templates/site/en/welcome.txt", "mlist.db"} {
		had, err := os.ReadFile(filepath.Join(aside, name))
		if name == "mlist.db" {
			had = nil
		}
		have, err2 := os.ReadFile(filepath.Join(dir, name))
		if err != nil || err2 != nil || had != nil && !bytes.Equal(had, have) {
			t.Errorf("%s: %v, %v\n%s", name, err, err2, text)
		}
	}
	command(t, dir, "list", "show", "dev@lists.test")
}

// What a database has is left to its own tools, and that is said.
func TestABackupLeavesADatabaseToItsTools(t *testing.T) {
	dir := installed(t, "")
	text := fmt.Sprintf("archive.url = %q\nstore.url = \"postgres://mlist@db.test/mlist\"\nspool.url = \"postgres://mlist@db.test/mlist\"\ntrace.dir = %q\n", "dir:"+filepath.Join(dir, "archive"), dir)
	if err := os.WriteFile(filepath.Join(dir, "mlist.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "backup.tar")
	if text := fails(t, dir, "backup", file); !strings.Contains(text, "pg_dump") || !strings.Contains(text, "--no-database") {
		t.Errorf("it says: %s", text)
	}
	if text := command(t, dir, "backup", "--no-database", file); !strings.Contains(text, "config   1 file") || strings.Contains(text, "store ") {
		t.Errorf("it says: %s", text)
	}
	command(t, dir, "backup", "verify", file)
}

// What root restores belongs to whom its directory belongs: the daemons are no root's.
func TestWhatIsRestoredBelongsToTheOwnerOfItsDirectory(t *testing.T) {
	_, file := backed(t)
	dir := installed(t, "")
	owner := os.Geteuid()
	if owner == 0 {
		owner = 65534
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	places := map[string]string{"store.url": "sqlite:%s/store/mlist.db", "spool.url": "dir:%s/spool", "archive.url": "dir:%s/archive"}
	text := ""
	for key, url := range places {
		text += fmt.Sprintf("%s = %q\n", key, fmt.Sprintf(url, dir))
	}
	for _, name := range []string{"store", "spool", "archive"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chown(path, owner, -1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "mlist.toml"), []byte(text+"control.listen = \"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "restore", "--keep-config", file)
	for _, name := range []string{"store/mlist.db", "spool/incoming", "spool/outgoing"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, name), &st); err != nil || int(st.Uid) != owner {
			t.Errorf("%s belongs to %d, want %d; %v", name, st.Uid, owner, err)
		}
	}
}

// What a hostile archive holds is put nowhere, and what is there stays.
func TestARestoreRefusesWhatIsNoBackup(t *testing.T) {
	dir, file := backed(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	empty := installed(t, "")
	add := func(name, text string) []byte {
		var b bytes.Buffer
		w, err := backup.NewWriter(&b, backup.About{Hostname: "x", Config: "/etc/mlist/mlist.toml", Parts: backup.Parts})
		if err == nil {
			err = w.Add(backup.Member{Name: name, Size: int64(len(text)), Mode: 0o644}, strings.NewReader(text))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "../../etc/passwd", Typeflag: tar.TypeReg}), w.Close()); err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(whole)
	changed[bytes.Index(changed, []byte("SQLite format 3"))+4000] ^= 1
	for name, data := range map[string][]byte{
		"cut": whole[:len(whole)/2], "without its end": whole[:len(whole)-3000], "changed": changed, "empty": nil, "another tar": tarred.Bytes(),
		"a store that is none":         add("store/mlist.db", "DROP TABLE lists"),
		"another file in the store":    add("store/mlist.db-wal", "x"),
		"a spool's owner":              add("spool/owners/incoming-aaaqeayeaudaocaj", "x"),
		"a file of no archive":         add("archive/.profile", "x"),
		"a file that is no entry":      add("spool/incoming/run-me", "x"),
		"a configuration that is none": add("config/inside/mlist.toml", "hostname = "),
	} {
		bad := filepath.Join(dir, "bad.tar")
		if err := os.WriteFile(bad, data, 0o600); err != nil {
			t.Fatal(err)
		}
		was := tree(t, empty)
		args := []string{"restore", "--keep-config", bad}
		if strings.Contains(name, "configuration") {
			args = []string{"restore", "--force", bad}
		}
		text := fails(t, empty, args...)
		if is := tree(t, empty); is != was {
			t.Errorf("%s: %s\nhas made\n%s of\n%s", name, text, is, was)
		}
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			fmt.Fprintln(&b, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Root may read what mlist's user may not. A link that this user has put among mlist's files
// takes nothing of that into a backup.
func TestALinkLeadsNothingIntoABackup(t *testing.T) {
	dir, _ := backed(t)
	secret := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(secret, []byte("root's secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"archive/lists.test/dev/2026-11/3n33mmjpq54snqoo.eml.gz", "spool/incoming/3n33mmjpq54snqoo-e73f", "spool/outgoing/3n33mmjpq54snqoo-e73f"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(secret, path)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "linked.tar")
	command(t, dir, "backup", file)
	if data, err := os.ReadFile(file); err != nil || bytes.Contains(data, []byte("root's secret")) {
		t.Errorf("the secret is in the backup: %v", err)
	}
}

// What ends a backup in the middle leaves nothing that is taken for one, and nothing at all if it
// is an interruption.
func TestABackupThatIsInterruptedLeavesNone(t *testing.T) {
	for name, end := range map[string]os.Signal{"kill -9": os.Kill, "Ctrl-C": os.Interrupt, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := interruptBackup(t, end)
			if left, _ := os.ReadDir(work); len(left) > 0 && end != os.Kill {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// interruptBackup ends one in its middle, checks what came out, and returns the directory for
// its temporary files.
func interruptBackup(t *testing.T, end os.Signal) (work string) {
	dir, _ := backed(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	work = t.TempDir()
	cmd := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "backup", "-")
	cmd.Stdout, cmd.Env = w, append(os.Environ(), "TMPDIR="+work)
	// Enough that the pipe is full before the end.
	big := filepath.Join(dir, "templates", "big.txt")
	if err := os.WriteFile(big, bytes.Repeat([]byte("x"), 900<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	part := make([]byte, 100<<10)
	if _, err := io.ReadFull(r, part); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(end); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("its status says that it is whole")
	}
	if _, _, err := backup.Read(bytes.NewReader(append(part, rest...)), nil); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("what came out is taken for a backup: %v", err)
	}
	return work
}

// A backup or a restore that is killed at any instant can be made again, and what is there is
// whole: a file of a backup's name, a store of the store's.
func TestAKillInTheMiddleLeavesNothingHalf(t *testing.T) {
	dir, file := backed(t)
	elsewhere := installed(t, "")
	killed := func(after time.Duration, in string, args ...string) {
		cmd := exec.Command("mlist", append([]string{"--config", filepath.Join(in, "mlist.toml")}, args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
		defer timer.Stop()
		cmd.Wait() // it may have been quicker
	}
	for i := range 10 {
		after := time.Duration(i) * 10 * time.Millisecond
		to := filepath.Join(dir, fmt.Sprintf("%d.tar", i))
		killed(after, dir, "backup", to)
		if _, err := os.Stat(to); err == nil {
			command(t, dir, "backup", "verify", to)
		}
		killed(after, elsewhere, "restore", "--keep-config", "--force", file)
		if _, err := os.Stat(filepath.Join(elsewhere, "mlist.db")); err == nil {
			if ls := command(t, elsewhere, "list", "ls"); !strings.Contains(ls, "dev@lists.test") {
				t.Errorf("after %v the lists are:\n%s", after, ls)
			}
		}
	}
	command(t, dir, "backup", filepath.Join(dir, "last.tar"))
	command(t, elsewhere, "restore", "--keep-config", "--force", filepath.Join(dir, "last.tar"))
	command(t, elsewhere, "list", "show", "dev@lists.test")
}
