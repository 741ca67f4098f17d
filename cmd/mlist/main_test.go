package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/internal/trace"
)

// This test program is the command, too: scripts, and tests that exec mlist, run it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mlist": func() { os.Exit(run()) }, "sendmail": says(sendmail), "entry": says(entry), "token": says(token),
	})
}

func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			path := filepath.Join(e.WorkDir, "mlist.toml")
			e.Setenv("MLIST_CONFIG", path)
			e.Setenv("TZ", "UTC")
			return os.WriteFile(path, []byte(configIn(e.WorkDir, "")), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": cmdStatus, "json": cmdJSON, "put": cmdPut, "post": cmdPost, "numbered": cmdNumbered, "timed": cmdTimed,
			"plugins": cmdPlugins, "traced": cmdTraced, "waits": cmdWaits, "bounced": cmdBounced, "append": cmdAppend,
		},
	})
}

// configIn is a configuration of which everything is in a directory; more is TOML for
// the top of the file.
func configIn(dir, more string) string {
	if !strings.Contains(more, "metrics.listen") {
		more += "metrics.listen = \"\"\n" // tests run beside each other
	}
	return more + fmt.Sprintf("\nhostname = \"lists.test\"\nstore.url = %q\narchive.url = %q\nspool.url = %q\nlmtpd.listen = [%q]\nmilter.listen = []\ncontrol.listen = %q\ntemplates.dir = %q\n",
		"sqlite:"+filepath.Join(dir, "mlist.db"), "dir:"+filepath.Join(dir, "archive"), "dir:"+filepath.Join(dir, "spool"), "unix:"+filepath.Join(dir, "lmtp.sock"), "unix:"+filepath.Join(dir, "control.sock"), filepath.Join(dir, "templates"))
}

// status N COMMAND...: the command ends with this exit status.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	have := 0
	if e, ok := err.(interface{ ExitCode() int }); ok {
		have = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(have) != args[0] {
		ts.Fatalf("exit status %d, want %s", have, args[0])
	}
}

// json PATH VALUE: at a path such as 0.list or settings.footer, stdout holds the value;
// json PATH len N: an array of so many items.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout is no JSON: %v", err)
	}
	for step := range strings.SplitSeq(args[0], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			if i, err := strconv.Atoi(step); err == nil && i < len(at) {
				v = at[i]
			} else if step != "" {
				ts.Fatalf("no item %q in an array of %d", step, len(at))
			}
		default:
			if step != "" {
				ts.Fatalf("nothing at %q", step)
			}
		}
	}
	have := fmt.Sprint(v)
	if len(args) == 3 && args[1] == "len" {
		have = strconv.Itoa(reflect.ValueOf(v).Len())
	}
	if (have == args[len(args)-1]) == neg {
		ts.Fatalf("%s is %q", args[0], have)
	}
}

func openTestSpool(ts *testscript.TestScript) spool.Spool {
	sp, err := dir.Open(ts.MkAbs("spool"), dir.Options{})
	ts.Check(err)
	return sp
}

// put QUEUE ID LIST FILE [REASON]: an entry is in the spool.
func cmdPut(ts *testscript.TestScript, _ bool, args []string) {
	sp := openTestSpool(ts)
	defer sp.Close()
	ts.Check(put(sp, spool.Queue(args[0]), spool.ID(args[1]), args[2], ts.ReadFile(args[3])))
}

// put puts a message to a list into a queue.
func put(sp spool.Spool, q spool.Queue, id spool.ID, list, message string) error {
	ctx := context.Background()
	draft, err := sp.Create(ctx)
	if err != nil {
		return err
	}
	defer draft.Close()
	if _, err := io.WriteString(draft, message); err != nil {
		return err
	}
	addr, err := address.Parse(list)
	if err != nil {
		return err
	}
	_, err = draft.Put(ctx, q, id, spool.Envelope{List: addr.Key(), Role: "post", Key: segment.KeyOf(addr.Key()), Sender: "eve@else.test",
		Recipient: list, Received: time.Now(), Notes: map[string]string{"code": "nonmember", "stage": "posting",
			"posting.hits": "nonmember: Who?\nrate: So often?", "limits.hits": "too-big: So much?"}})
	return err
}

// post ID LIST RECIPIENT...: a post with these recipients is in outgoing, each in a
// chunk of its own.
func cmdPost(ts *testscript.TestScript, _ bool, args []string) {
	sp := openTestSpool(ts)
	defer sp.Close()
	ts.Check(prepare(sp, spool.ID(args[0]), args[1], ts.ReadFile("post.eml"), args[2:]))
}

// prepare puts a message to a list into outgoing, as a pipeline does: nobody else may own incoming.
func prepare(sp spool.Spool, id spool.ID, list, message string, recipients []string) error {
	if err := put(sp, spool.Incoming, id, list, message); err != nil {
		return err
	}
	ctx := context.Background()
	own, err := sp.Own(ctx, spool.Incoming, segment.All, "test")
	if err != nil {
		return err
	}
	defer own.Close()
	e, err := own.Next(ctx)
	if err != nil {
		return err
	}
	p, err := own.Prepare(ctx, e)
	if err != nil {
		return err
	}
	w, err := p.Content("plain")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, "Subject: x\r\n\r\nx\r\n"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	for _, r := range recipients {
		if err := p.AddChunk(ctx, spool.Chunk{List: list, Variant: "plain", Sender: "dev-bounces@lists.test", Created: e.Received, Recipients: []string{r}}); err != nil {
			return err
		}
	}
	return p.Commit(ctx)
}

// numbered FILE N FORMAT: a file with so many lines.
func cmdNumbered(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, args[2]+"\n", i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// timed COMMAND...: exec that logs how long it took.
func cmdTimed(ts *testscript.TestScript, _ bool, args []string) {
	start := time.Now()
	ts.Check(ts.Exec(args[0], args[1:]...))
	ts.Logf("took %v", time.Since(start).Round(time.Millisecond))
}

// append FILE MORE: what MORE has comes behind what FILE has.
func cmdAppend(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.TrimRight(ts.ReadFile(args[0]), "\n") + "\n" + ts.ReadFile(args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// plugins: the configuration has the handlers that ship with mlist.
func cmdPlugins(ts *testscript.TestScript, _ bool, _ []string) {
	dir, err := buildPlugins()
	ts.Check(err)
	path := ts.MkAbs("mlist.toml")
	ts.Check(os.WriteFile(path, fmt.Appendf([]byte(ts.ReadFile(path)), "pipeline.plugin_dir = %q\n", dir), 0o600))
}

// traced ENTRY LIST KIND [KEY VALUE]...: an event is in the trace; values are JSON, or else text.
func cmdTraced(ts *testscript.TestScript, _ bool, args []string) {
	j := trace.New(ts.MkAbs("spool/trace"), trace.Options{})
	defer j.Close()
	var rest []any
	for i, a := range args[3:] {
		var v any
		if i%2 == 0 || json.Unmarshal([]byte(a), &v) != nil {
			v = a
		}
		rest = append(rest, v)
	}
	j.Trace(args[0], args[1], args[2], rest...)
}

// bounced LIST ADDRESS N: mail to the member came back on each of the last N days, and a
// score of N disables delivery.
func cmdBounced(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	st, err := sqlstore.Open(ctx, "sqlite:"+ts.MkAbs("mlist.db"), sqlstore.Options{})
	ts.Check(err)
	defer st.Close()
	addr, err := address.Parse(args[0])
	ts.Check(err)
	l, err := st.List(ctx, addr)
	ts.Check(err)
	who, err := address.Parse(args[1])
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	rules := store.BounceRules{Process: true, Threshold: float64(n), StaleAfter: 7 * 24 * time.Hour}
	for i := range n {
		at := time.Now().Add(time.Duration(i-n+1) * 24 * time.Hour)
		ts.Check(st.RecordBounces(ctx, rules, []store.BounceEvent{{ListID: l.ID, Recipient: who, Entry: fmt.Sprint("b", i), At: at, Status: "5.1.1",
			Hard: true, Text: "550 no \x1b[31msuch user", Class: "mailbox", Points: 1, Proven: true}}))
	}
}

// waits LIST N: so many posts, of 10 octets each, wait for the list's next digest.
func cmdWaits(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	st, err := sqlstore.Open(ctx, "sqlite:"+ts.MkAbs("mlist.db"), sqlstore.Options{})
	ts.Check(err)
	defer st.Close()
	addr, err := address.Parse(args[0])
	ts.Check(err)
	l, err := st.List(ctx, addr)
	ts.Check(err)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range n {
		entry := fmt.Sprintf("%d-%d", time.Now().UnixNano(), i)
		_, err := st.FilePost(ctx, store.Post{ListID: l.ID, Entry: entry, Digest: []byte(entry), At: time.Now(),
			Kept: &store.Kept{DigestPlace: entry, DigestSize: 10}}, true, time.Hour)
		ts.Check(err)
	}
}
