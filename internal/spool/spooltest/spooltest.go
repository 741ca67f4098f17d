// Package spooltest is what every spool must do, as tests to run over an
// implementation. It promises nothing about speed: latencies here are bounds that
// only a hanging implementation breaks.
package spooltest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// patience is how long anything may take that ought to happen at once.
const patience = time.Minute

// Storage makes spools that share one storage: the first call of Open opens it, the
// next ones act as other processes would.
type Storage interface {
	Open(t *testing.T) spool.Spool
}

// Run runs the suite. fresh makes an empty storage for each test.
func Run(t *testing.T, fresh func(t *testing.T) Storage) {
	tests := []struct {
		name string
		run  func(t *testing.T, s Storage)
	}{
		{"an entry comes back as it was put", testRoundTrip},
		{"a large message goes to several lists", testLarge},
		{"a draft that is closed leaves nothing", testDraftClosed},
		{"an id is put once", testPutTwice},
		{"entries of one list are handed out one at a time, oldest first", testSerial},
		{"entries that follow are handed out on request", testFollowing},
		{"lists do not wait for one another", testParallel},
		{"next ends with its context", testNextCancelled},
		{"next sees what another process puts", testNextWakes},
		{"a deferred entry waits and does not block its list", testDefer},
		{"retry makes a deferred entry due", testRetryDeferred},
		{"a parked entry is kept with its reason, and comes back", testPark},
		{"a released entry is handed out again", testRelease},
		{"an owner takes its own segments only", testSegments},
		{"segments have one owner", testOwned},
		{"an owner that was closed can change nothing", testFenced},
		{"a commit is one step", testCommit},
		{"several posts are committed in order", testCommitSeveral},
		{"of several posts those before a bad one are committed", testCommitSome},
		{"a post that was aborted leaves nothing", testAbort},
		{"a commit that was cut short is recognised", testFinished},
		{"a post without recipients just goes", testNoRecipients},
		{"new entries come with the commit, once", testNewEntries},
		{"new entries of a commit that was not", testNoNewEntries},
		{"a deferred chunk keeps its other recipients done", testSettle},
		{"progress within a chunk outlives its owner", testProgress},
		{"posts take turns", testTurns},
		{"a post that waits is told of", testOthers},
		{"a released chunk waits in memory", testReleaseChunk},
		{"retry makes deferred chunks due", testRetryChunks},
		{"a post can be removed", testRemovePost},
		{"a post can be paused and resumed", testPausePost},
		{"owners are known", testOwners},
		{"owners of different segments share a post", testSharedPost},
		{"names with odd characters come back", testOddText},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, fresh(t)) })
	}
}

const body = "Subject: hello\r\n\r\nworld\r\n"

func envelope(list string) spool.Envelope {
	return spool.Envelope{List: list, Role: "post", Key: segment.KeyOf(list), Sender: "ann@net.test",
		Recipient: list, Received: time.UnixMicro(1763990000123456).UTC(), Peer: "unix"}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// put puts one message for a list.
func put(t *testing.T, s spool.Putter, q spool.Queue, id spool.ID, env spool.Envelope, text string) spool.ID {
	t.Helper()
	d, err := s.Create(t.Context())
	must(t, err)
	defer d.Close()
	_, err = io.WriteString(d, text)
	must(t, err)
	id, err = d.Put(t.Context(), q, id, env)
	must(t, err)
	return id
}

func own(t *testing.T, s spool.Spool, q spool.Queue, set segment.Set) spool.Owner {
	t.Helper()
	o, err := s.Own(ctxOf(t), q, set, "spooltest")
	must(t, err)
	t.Cleanup(func() { o.Close() })
	return o
}

func ownOutgoing(t *testing.T, s spool.Spool, set segment.Set) spool.OutgoingOwner {
	t.Helper()
	o, err := s.OwnOutgoing(ctxOf(t), set, "spooltest")
	must(t, err)
	t.Cleanup(func() { o.Close() })
	return o
}

func next(t *testing.T, o spool.Owner) spool.Entry {
	t.Helper()
	e, err := o.Next(ctxOf(t))
	must(t, err)
	return e
}

func nextChunk(t *testing.T, o spool.OutgoingOwner) *spool.Chunk {
	t.Helper()
	c, err := o.Next(ctxOf(t))
	must(t, err)
	return c
}

// none makes sure that nothing is handed out for a while.
func none(t *testing.T, next func(context.Context) (string, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	if what, err := next(ctx); err == nil {
		t.Fatalf("%s was handed out", what)
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func noEntry(t *testing.T, o spool.Owner) {
	t.Helper()
	none(t, func(ctx context.Context) (string, error) { e, err := o.Next(ctx); return string(e.ID), err })
}

func noChunk(t *testing.T, o spool.OutgoingOwner) {
	t.Helper()
	none(t, func(ctx context.Context) (string, error) {
		c, err := o.Next(ctx)
		if err != nil {
			return "", err
		}
		return c.ID(), nil
	})
}

func text(t *testing.T, m spool.Message, err error) string {
	t.Helper()
	must(t, err)
	defer m.Close()
	data, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	must(t, err)
	f, offset := m.File()
	again, err := io.ReadAll(io.NewSectionReader(f, offset, 1<<40))
	must(t, err)
	if string(again) != string(data) {
		t.Fatalf("File gives %d bytes, ReadAt %d", len(again), len(data))
	}
	return string(data)
}

func list(t *testing.T, s spool.Spool, q spool.Queue) (ids []spool.ID) {
	t.Helper()
	for e, err := range s.Entries(ctxOf(t), q) {
		must(t, err)
		ids = append(ids, e.ID)
	}
	return ids
}

// recipients are those of all chunks in outgoing, in one line.
func recipients(t *testing.T, s spool.Spool) string {
	t.Helper()
	var all []string
	for c, err := range s.Chunks(ctxOf(t), true) {
		must(t, err)
		all = append(all, c.Recipients...)
	}
	return strings.Join(all, " ")
}

// wantEmpty makes sure that nothing is in any queue.
func wantEmpty(t *testing.T, s spool.Spool) {
	t.Helper()
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
		if ids := list(t, s, q); len(ids) > 0 {
			t.Errorf("%s has %v, want nothing", q, ids)
		}
	}
	if r := recipients(t, s); r != "" {
		t.Errorf("outgoing has recipients %s, want none", r)
	}
}

// post commits an entry with a chunk for each group of recipients.
func post(t *testing.T, o spool.Owner, e spool.Entry, chunks ...string) {
	t.Helper()
	p, err := o.Prepare(t.Context(), e)
	must(t, err)
	w, err := p.Content("plain")
	must(t, err)
	_, err = io.WriteString(w, body)
	must(t, err)
	must(t, w.Close())
	for _, c := range chunks {
		must(t, p.AddChunk(t.Context(), chunkOf(e, strings.Fields(c)...)))
	}
	must(t, p.Commit(t.Context()))
}

func chunkOf(e spool.Entry, recipients ...string) spool.Chunk {
	return spool.Chunk{List: e.List, Variant: "plain", Sender: "dev-bounces@l.test", Flags: []string{spool.Flag8BitMIME},
		Created: e.Received, Recipients: recipients}
}
