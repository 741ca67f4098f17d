package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/sink"
)

const (
	slowReply   = 20 * time.Millisecond // before what a slow MTA answers: two of them a transaction
	slowConns   = 4                     // to each MTA
	slowChunk   = 10                    // recipients a transaction
	slowMembers = 8_000
	// nearly is what each further daemon is to add, of what one does alone.
	nearly = 0.8
)

// scaling measures what several outbound daemons are for: each has an MTA of its own that takes
// its time, as one does that writes to a disk and asks about addresses, and takes few
// connections. The daemons share the segments of one database.
func (b *bench) scaling(ctx context.Context) error {
	return b.onPostgres(ctx, func(ctx context.Context, server *postgres.Server) error {
		conn, err := pgx.Connect(ctx, server.URL("public"))
		if err != nil {
			return err
		}
		defer conn.Close(ctx) //nolint:errcheck // the server goes next
		return b.scale(ctx, strconv.Quote(server.URL("public")), conn)
	})
}

func (b *bench) scale(ctx context.Context, url string, conn *pgx.Conn) error {
	const list = "slow@lists.test"
	own := b.mlist
	defer func() { b.mlist = own }()
	site := map[string]string{"store.url": url, "spool.url": url, "outbound.recipients_per_transaction": strconv.Itoa(slowChunk),
		"trace.dir": strconv.Quote(filepath.Join(b.dir, "slow", "trace"))}
	var err error
	if b.mlist, err = harness.Install(filepath.Join(b.dir, "slow"), b.dist, harness.Options{MTA: b.out.Addr().String(), Set: site}); err != nil {
		return err
	}
	if _, err := b.list(ctx, list, slowMembers); err != nil {
		return err
	}
	var one float64
	for _, daemons := range []int{1, 2, 4} {
		took, err := b.slowly(ctx, list, daemons, url, conn)
		if err != nil {
			return err
		}
		f := figure{Name: fmt.Sprintf("one post to %s into MTAs that take 20 ms a reply, outbound daemons with one each: %d", group(slowMembers), daemons),
			Value: slowMembers / took.Seconds(), Unit: "recipients/s"}
		if daemons == 1 {
			one = f.Value
		} else {
			f.Beside, f.Limit, f.Share = fmt.Sprintf("%d times what one does", daemons), float64(daemons)*one, nearly
		}
		b.add(f)
	}
	return nil
}

// slowly has so many daemons deliver a post, and tells how long that took from the first
// delivery to the last.
func (b *bench) slowly(ctx context.Context, list string, daemons int, url string, conn *pgx.Conn) (time.Duration, error) {
	var mtas []*sink.Server
	var running []*harness.Mlist
	defer func() {
		for _, m := range running {
			m.Kill()
		}
		for _, s := range mtas {
			s.Close()
		}
	}()
	for i := range daemons {
		s, err := sink.Listen("127.0.0.1:0", sink.Options{Faults: sink.Faults{Delay: slowReply}})
		if err != nil {
			return 0, err
		}
		mtas = append(mtas, s)
		dir := filepath.Join(b.dir, fmt.Sprintf("slow%dof%d", i, daemons))
		m, err := harness.Install(dir, b.dist, harness.Options{MTA: s.Addr().String(), Set: map[string]string{
			"store.url": url, "spool.url": url, "spool.host": strconv.Quote(filepath.Base(dir)), "trace.dir": strconv.Quote(filepath.Join(dir, "trace")),
			"outbound.segments": `"auto"`, "outbound.connections": strconv.Itoa(slowConns), "outbound.recipients_per_transaction": strconv.Itoa(slowChunk),
		}})
		if err == nil {
			err = m.StartDaemon(ctx, "outbound")
		}
		if err != nil {
			return 0, err
		}
		running = append(running, m)
	}
	if err := evenShares(ctx, daemons, conn); err != nil {
		return 0, err
	}
	if err := b.fillShared(ctx, list, fmt.Sprint("slow", daemons), 1, conn); err != nil {
		return 0, err
	}
	var first, last time.Time
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		done := int64(0)
		first, last = time.Time{}, time.Time{}
		for _, s := range mtas {
			st := s.Stats()
			done += st.Recipients
			if first.IsZero() || !st.First.IsZero() && st.First.Before(first) {
				first = st.First
			}
			if st.Last.After(last) {
				last = st.Last
			}
		}
		if done >= slowMembers {
			break
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("%d of %d recipients\n%s", done, slowMembers, running[0].Log())
		}
	}
	var errs []error
	for _, m := range running {
		errs = append(errs, m.Stop())
	}
	running = nil
	return last.Sub(first), errors.Join(errs...)
}

// evenShares waits until daemons that have nothing to do yet have about the same each.
func evenShares(ctx context.Context, daemons int, conn *pgx.Conn) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		rows, err := conn.Query(ctx, `SELECT segments FROM spool_owners WHERE queue = 'outgoing' AND until >= clock_timestamp()`)
		if err != nil {
			return err
		}
		sets, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		even := len(sets) == daemons
		for _, text := range sets {
			set, err := segment.ParseAny(text)
			if err != nil {
				return err
			}
			even = even && set.Size() >= 65536*93/100/daemons
		}
		if even {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("shares are not even: %q", sets)
		}
	}
}
