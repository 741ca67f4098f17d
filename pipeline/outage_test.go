package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk"
)

// brokenStore fails as often as it is told to, then works.
type brokenStore struct {
	*sqlstore.Store
	fail atomic.Int64
}

func (b *brokenStore) List(ctx context.Context, a address.Address) (*list.List, error) {
	if b.fail.Add(-1) >= 0 {
		return nil, errors.New("the disk that it is on does not answer")
	}
	return b.Store.List(ctx, a)
}

func TestAStoreThatIsDownCostsNoPost(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.add(list.Member, "a@x.test")
	id := w.post(hello)
	broken := &brokenStore{Store: w.store}
	broken.fail.Store(9) // three times as often as there are tries
	w.startWith(broken, verdict(sdk.Accept))
	w.idle()
	if got := w.recipients(id); len(got) != 1 {
		t.Errorf("delivered to %v; failed has %+v", got, w.entries(spool.Failed))
	}
}

func TestAFullDiskCostsNoPost(t *testing.T) {
	for _, down := range []error{
		fmt.Errorf("write the content: %w", &fs.PathError{Op: "write", Path: "content", Err: syscall.ENOSPC}),
		fmt.Errorf("commit entry: %w", spool.ErrDown),
	} {
		var calls atomic.Int64
		w := newWorld(t, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
			if calls.Add(1) <= 9 {
				return host.Result{}, down
			}
			return verdict(sdk.Accept)(ctx, p)
		}))
		w.add(list.Member, "a@x.test")
		id := w.post(hello)
		w.idle()
		if got := w.recipients(id); len(got) != 1 {
			t.Errorf("%v: delivered to %v; failed has %+v", down, got, w.entries(spool.Failed))
		}
	}
}

func TestAnOutageThatDoesNotEndIsSomethingToLookAt(t *testing.T) {
	w := newWorld(t, stagesFunc(func(context.Context, *host.Post) (host.Result, error) {
		return host.Result{}, fmt.Errorf("write: %w", syscall.ENOSPC)
	}))
	w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Recipient: "dev@lists.test", Received: time.Now().Add(-patience)}, hello)
	w.idle()
	if failed := w.entries(spool.Failed); len(failed) != 1 {
		t.Errorf("failed has %+v", failed)
	}
}
