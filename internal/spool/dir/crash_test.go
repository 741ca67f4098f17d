package dir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

const (
	childEnv   = "MLIST_SPOOL_TEST_CHILD" // the spool's path and the child's segments
	crashCount = 30
)

// runChild turns the test binary into a whole mlist in miniature, which works until
// it is killed. Each line that it prints is one write, before or after a step:
//
//	ack ID, sent CHUNK RECIPIENT, settled CHUNK
func runChild() bool {
	path, segments, ok := strings.Cut(os.Getenv(childEnv), "|")
	if !ok {
		return false
	}
	set, err := segment.Parse(segments)
	if err == nil {
		err = child(path, set)
	}
	fmt.Fprintln(os.Stderr, "child:", err)
	os.Exit(1)
	return true
}

func child(path string, set segment.Set) error {
	ctx := context.Background()
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	in, err := s.Own(ctx, spool.Incoming, set, "child")
	if err != nil {
		return err
	}
	out, err := s.OwnOutgoing(ctx, set, "child")
	if err != nil {
		return err
	}
	failed := make(chan error)
	for range 2 {
		go func() { failed <- forever(func() error { return putOne(ctx, s, os.Stdout) }) }()
		go func() { failed <- forever(func() error { return prepareOne(ctx, in) }) }()
		go func() { failed <- forever(func() error { return sendOne(ctx, out, os.Stdout) }) }()
	}
	return <-failed
}

func forever(f func() error) error {
	for {
		if err := f(); err != nil {
			return err
		}
	}
}

func putOne(ctx context.Context, s *Spool, w io.Writer) error {
	d, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	size := 100
	if rand.IntN(10) == 0 {
		size = inMemory + 1
	}
	if _, err := d.Write(make([]byte, size)); err != nil {
		return err
	}
	for range 2 {
		id, err := d.Put(ctx, spool.Incoming, "", spool.Envelope{List: fmt.Sprintf("l%d@l.test", rand.IntN(8))})
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "ack %s\n", id)
	}
	return nil
}

// prepareOne makes posts of an entry and those that follow it, now and then by way of a
// deferral, and commits them together.
func prepareOne(ctx context.Context, o spool.Owner) error {
	e, err := o.Next(ctx)
	if err != nil {
		return err
	}
	var group []spool.Prepared
	for ok := true; ok && len(group) < 4; {
		p, err := prepareEntry(ctx, o, e)
		if err != nil {
			return err
		}
		if p != nil {
			group = append(group, p)
		}
		if e, ok, err = o.Following(ctx, e); err != nil {
			return err
		}
		if ok && len(group) == 4 {
			o.Release(e)
		}
	}
	_, err = o.Commit(ctx, group...)
	return err
}

// prepareEntry prepares a post, if one is to be made of the entry.
func prepareEntry(ctx context.Context, o spool.Owner, e spool.Entry) (spool.Prepared, error) {
	done, err := o.Finished(ctx, e)
	if err != nil {
		return nil, err
	}
	if done {
		return nil, o.Done(ctx, e)
	}
	if e.Tries == 0 && e.ID[15] == '2' {
		return nil, o.Defer(ctx, e, time.Now().Add(time.Millisecond), "first try")
	}
	p, err := o.Prepare(ctx, e)
	if err != nil {
		return nil, err
	}
	w, err := p.Content("plain")
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	groups, of := [][]string{{"a"}, {"b", "c"}, {"d"}}, string(e.ID)
	made := len(e.Flags) > 0
	if made {
		groups, of = [][]string{{"new", "late"}}, strings.TrimPrefix(e.Flags[0], "of=")
	}
	for _, group := range groups {
		c := spool.Chunk{Variant: "plain"}
		for _, r := range group {
			c.Recipients = append(c.Recipients, r+"."+of)
		}
		if err := p.AddChunk(ctx, c); err != nil {
			return nil, err
		}
	}
	if !made && makesNew(string(e.ID)) {
		if _, err := p.AddEntry(ctx, spool.Envelope{List: e.List, Flags: []string{"of=" + string(e.ID)}}, []byte("new")); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// makesNew tells whether the post of an entry brings a new entry with it.
func makesNew(id string) bool { return id[15] < 'f' }

// sendOne delivers a chunk; of the one with two recipients it defers the second.
func sendOne(ctx context.Context, o spool.OutgoingOwner, w io.Writer) error {
	c, err := o.Next(ctx)
	if err != nil {
		return err
	}
	var r spool.Settlement
	if len(c.Recipients) == 2 {
		r = spool.Settlement{Deferred: c.Recipients[1:], Due: time.Now().Add(time.Millisecond), Reason: "450"}
	}
	fmt.Fprintf(w, "sent %s %s\n", c.ID(), c.Recipients[0])
	if err := o.Settle(ctx, c, r); err != nil {
		return err
	}
	fmt.Fprintf(w, "settled %s\n", c.ID())
	return nil
}

// history is what all children said.
type history struct {
	mu      sync.Mutex
	acked   []string
	sent    map[string]int    // by recipient
	inDoubt map[string]string // recipient whose settlement nobody saw, by chunk
	pardons map[string]int    // times that a recipient was in doubt when its child died
}

func (h *history) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		h.mu.Lock()
		switch f[0] {
		case "ack":
			h.acked = append(h.acked, f[1])
		case "sent":
			h.sent[f[2]]++
			h.inDoubt[f[1]] = f[2]
		case "settled":
			delete(h.inDoubt, f[1])
		}
		h.mu.Unlock()
	}
}

func TestKilledAtAnyInstantNothingIsLostOrDoubled(t *testing.T) {
	path := t.TempDir()
	h := &history{sent: map[string]int{}, inDoubt: map[string]string{}, pardons: map[string]int{}}
	for range crashCount {
		var wg sync.WaitGroup
		for _, segments := range []string{"0000-7fff", "8000-ffff"} {
			wg.Go(func() { killed(t, h, path, segments) })
		}
		wg.Wait()
		for _, r := range h.inDoubt {
			h.pardons[r]++
		}
		clear(h.inDoubt)
		onePlace(t, path)
	}
	drain(t, h, path)
	if len(h.acked) < crashCount {
		t.Fatalf("only %d entries were put in %d rounds", len(h.acked), crashCount)
	}
	doubled := 0
	for _, id := range h.acked {
		for _, r := range []string{"a.", "b.", "c.", "d.", "new.", "late."} {
			if (r == "new." || r == "late.") && !makesNew(id) {
				continue
			}
			n := h.sent[r+id]
			if n == 0 {
				t.Errorf("%s was accepted, and never sent to %s", id, r+id)
			}
			if n > 1+h.pardons[r+id] {
				t.Errorf("%s was sent %d times, with %d replies in flight", r+id, n, h.pardons[r+id])
			}
			doubled += n - 1
		}
	}
	t.Logf("%d entries accepted, %d deliveries in flight when killed were repeated", len(h.acked), doubled)
}

// killed runs a child and kills it after some milliseconds of work.
func killed(t *testing.T, h *history, path, segments string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path+"|"+segments)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	first := bufio.NewReader(out)
	if _, err := first.Peek(1); err != nil {
		t.Errorf("the child did not start to work: %v", err)
	}
	kill := time.AfterFunc(time.Duration(rand.Int64N(int64(40*time.Millisecond))), func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	h.read(first)
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the child ended by itself: %v", err)
	}
}

// onePlace makes sure that each entry is in one queue, and each recipient in one chunk.
func onePlace(t *testing.T, path string) {
	t.Helper()
	s := storage(path).Open(t)
	where := map[string]string{}
	see := func(what, place string) {
		if other, twice := where[what]; twice {
			t.Errorf("%s is in %s and in %s", what, other, place)
		}
		where[what] = place
	}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
		for e, err := range s.Entries(t.Context(), q) {
			if err != nil || e.Reason != "" && e.Reason != "first try" {
				t.Errorf("entry %+v, %v", e, err)
			}
			see(string(e.ID), string(q))
		}
	}
	for c, err := range s.Chunks(t.Context(), true) {
		if err != nil {
			t.Error(err)
		}
		for _, r := range c.Recipients {
			see(r, c.ID())
		}
	}
}

// drain does what the children left, until every accepted entry was sent.
func drain(t *testing.T, h *history, path string) {
	t.Helper()
	s := storage(path).Open(t).(*Spool)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	in, err := s.Own(ctx, spool.Incoming, segment.All, "drain")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.OwnOutgoing(ctx, segment.All, "drain")
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { h.read(r) })
	var work sync.WaitGroup
	for range 4 {
		for _, f := range []func() error{
			func() error { return prepareOne(ctx, in) },
			func() error { return sendOne(ctx, out, w) },
		} {
			work.Go(func() {
				if err := forever(f); ctx.Err() == nil {
					t.Error(err)
				}
			})
		}
	}
	for ctx.Err() == nil && !empty(t, s) {
		time.Sleep(5 * time.Millisecond) // between looks, for there is nothing to wait on
	}
	cancel()
	work.Wait()
	w.Close()
	wg.Wait()
	if orphans, _ := filepath.Glob(s.path(spool.Incoming, "*.try*")); len(orphans) > 0 {
		t.Logf("states without an entry: %v", orphans)
	}
	if left := remains(t, s); len(left) > 0 {
		t.Errorf("the spool did not drain: %v", left)
	}
}

func empty(t *testing.T, s *Spool) bool {
	t.Helper()
	return len(remains(t, s)) == 0
}

// remains are the files in the queues, but for states without an entry: a death
// between the removal of the two leaves those, and they are swept after an hour.
func remains(t *testing.T, s *Spool) (paths []string) {
	t.Helper()
	for _, q := range spool.Queues {
		names, err := os.ReadDir(s.path(q, ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range names {
			if n, st, err := parseName(d.Name()); err == nil && st.side && q != spool.Outgoing {
				if there, err := exists(s.path(q, n.String())); err == nil && !there {
					continue
				}
			}
			paths = append(paths, s.path(q, d.Name()))
		}
	}
	return paths
}

func TestDeadProcessesLeaveNothingBehind(t *testing.T) {
	path := t.TempDir()
	h := &history{sent: map[string]int{}, inDoubt: map[string]string{}}
	killed(t, h, path, "0000-ffff")
	s := storage(path).Open(t).(*Spool)
	o, err := s.Own(t.Context(), spool.Incoming, segment.All, "after")
	if err != nil {
		t.Fatalf("a dead owner still owns: %v", err)
	}
	defer o.Close()
	if _, err := s.temp("x"); err != nil { // starts this process's session, which sweeps
		t.Fatal(err)
	}
	sessions, err := os.ReadDir(s.path(tempDir, ""))
	if err != nil || len(sessions) != 1 {
		t.Errorf("tmp has %v, %v; want this process's directory alone", sessions, err)
	}
	owners, err := os.ReadDir(s.path(ownersDir, ""))
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(owners, func(d os.DirEntry) bool { return !strings.HasPrefix(d.Name(), "incoming-") })
	if len(names) != 1 {
		t.Errorf("owners has %v, want one of incoming", names)
	}
}

func TestAnotherProcessOwns(t *testing.T) {
	path := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path+"|0000-7fff")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _, _ = io.Copy(io.Discard, out); _ = cmd.Wait() }()
	if _, err := bufio.NewReader(out).Peek(1); err != nil {
		t.Fatal(err)
	}
	s := storage(path).Open(t)
	_, err = s.Own(t.Context(), spool.Incoming, segment.All, "second")
	if !errors.Is(err, spool.ErrOwned) || !strings.Contains(err.Error(), fmt.Sprintf("child (pid %d)", cmd.Process.Pid)) {
		t.Fatalf("error %v, want that the child owns it", err)
	}
}
