package dir

import (
	"context"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// What several tests do: puts, takes, commits.

func putFor(t *testing.T, s *Spool, q spool.Queue, id spool.ID, list string) spool.ID {
	t.Helper()
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Write([]byte("Subject: x\n\n")); err != nil {
		t.Fatal(err)
	}
	if id, err = d.Put(t.Context(), q, id, spool.Envelope{List: list}); err != nil {
		t.Fatal(err)
	}
	return id
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func ownBoth(t *testing.T, s *Spool) (spool.Owner, spool.OutgoingOwner) {
	t.Helper()
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	return in, out
}

func commitOne(t *testing.T, in spool.Owner, recipients ...string) spool.Entry {
	t.Helper()
	return commitWith(t, in, nil, recipients...)
}

// commitNew commits an entry that brings a new one.
func commitNew(t *testing.T, in spool.Owner, recipients ...string) spool.Entry {
	t.Helper()
	return commitWith(t, in, func(p spool.Prepared, e spool.Entry) error {
		_, err := p.AddEntry(t.Context(), spool.Envelope{List: e.List}, []byte("Subject: new\n\n"))
		return err
	}, recipients...)
}

func commitWith(t *testing.T, in spool.Owner, more func(spool.Prepared, spool.Entry) error, recipients ...string) spool.Entry {
	t.Helper()
	e, err := in.Next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := in.Prepare(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Content("plain")
	if err == nil {
		err = w.Close()
	}
	for _, r := range recipients {
		if err == nil {
			err = p.AddChunk(t.Context(), spool.Chunk{List: e.List, Variant: "plain", Recipients: []string{r + "." + e.List}})
		}
	}
	if err == nil && more != nil {
		err = more(p, e)
	}
	if err == nil {
		err = p.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}
