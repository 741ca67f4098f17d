package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/balance"
	"github.com/mlist/mlist/internal/postgres"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Share implements spool.Sharing.
func (s *Spool) Share(ctx context.Context, q spool.Queue, who spool.Partner) (spool.Owner, error) {
	return s.ownEntries(q, func() (*lease, error) { return s.join(ctx, q, who) })
}

// ShareOutgoing implements spool.Sharing.
func (s *Spool) ShareOutgoing(ctx context.Context, who spool.Partner) (spool.OutgoingOwner, error) {
	return s.ownChunks(func() (*lease, error) { return s.join(ctx, spool.Outgoing, who) })
}

// turn prolongs the lease, tells how fast this daemon is, makes a plan if it is time for one,
// and follows the plan. It returns when the next turn is.
func (l *lease) turn(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, l.s.opts.Lease/2)
	defer cancel()
	next := l.s.opts.Lease / 4
	if l.auto {
		next = l.s.opts.Lease / 10
	}
	me, err := l.prolong(ctx)
	if err != nil {
		return next, err
	}
	serves := l.cease(me)
	if !l.auto && balance.Settled(me, serves) {
		return next, nil
	}
	next = l.s.opts.Lease / 10
	site, err := l.s.site(ctx, l.s.keep, l.queue)
	if err != nil {
		return next, err
	}
	if balance.Settled(me, serves) && !site.late && !l.s.opts.policy.Due(site.Site, site.age) {
		return min(next, site.next), nil
	}
	serves, err = l.follow(ctx)
	if err == nil {
		l.serve(serves)
	}
	return next, err
}

// prolong renews the lease.
func (l *lease) prolong(ctx context.Context) (me balance.Member, err error) {
	var load spool.Load
	if l.who.Load != nil {
		load = l.who.Load()
	}
	l.meter.Add(time.Now(), load.Done, load.Busy, load.Failing)
	rate, sure := l.meter.Rate()
	asked := boottime()
	var owned, wished string
	err = l.s.keep.QueryRow(ctx, `UPDATE spool_owners SET until = clock_timestamp() + $2 * interval '1 microsecond', rate = $3, sure = $4, failing = $5, done = $6, flow = $7
		WHERE epoch = $1 RETURNING segments, wished`,
		l.epoch, l.s.opts.Lease.Microseconds(), rate, sure, l.meter.Failing(), load.Done, l.meter.Flow()).Scan(&owned, &wished)
	if errors.Is(err, pgx.ErrNoRows) {
		return me, spool.ErrFenced
	}
	if err != nil {
		return me, err
	}
	l.renewed(asked)
	me.ID = l.epoch
	var err1, err2 error
	me.Owned, err1 = segment.ParseAny(owned)
	me.Wished, err2 = segment.ParseAny(wished)
	return me, errors.Join(err1, err2)
}

// cease hands out nothing more of what is not to be had. What the database does not know to be
// owned is not served either: a standby that became the primary may lack the last moments.
func (l *lease) cease(me balance.Member) segment.Set {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = balance.Cease(me, l.set)
	return l.set
}

// serve hands out of a set from now on.
func (l *lease) serve(set segment.Set) {
	l.mu.Lock()
	same := slices.Equal(set, l.set)
	l.set = set
	moved := l.moved
	l.mu.Unlock()
	if !same && moved != nil {
		moved()
	}
}

// watch has an owner asked what is busy, and told when it serves something else.
func (l *lease) watch(busy func() []segment.Key, moved func()) {
	l.mu.Lock()
	l.busy, l.moved = busy, moved
	l.mu.Unlock()
	moved()
}

// follow gives up and takes what the plan says, after it has made one if it is time. It returns
// what may be handed out then.
func (l *lease) follow(ctx context.Context) (serves segment.Set, err error) {
	err = l.s.changeBy(ctx, l.s.keep, func(tx pgx.Tx) error {
		if _, err := lockOwners(ctx, tx); err != nil {
			return err
		}
		site, err := l.s.site(ctx, tx, l.queue)
		if err != nil {
			return err
		}
		if l.auto && l.s.opts.policy.Due(site.Site, site.age) {
			if err := plan(ctx, tx, l.s.opts.policy, l.queue, &site); err != nil {
				return err
			}
		}
		i := slices.IndexFunc(site.Members, func(m balance.Member) bool { return m.ID == l.epoch })
		if i < 0 {
			return spool.ErrFenced
		}
		me := site.Members[i]
		l.cease(me)
		l.mu.Lock()
		inFlight := l.busy
		l.mu.Unlock()
		var busy []segment.Key
		if inFlight != nil {
			busy = inFlight()
		}
		others := site.ends
		for _, m := range site.Members {
			if m.ID != l.epoch {
				others = others.Union(m.Owned)
			}
		}
		turn := balance.Follow(me, busy, others)
		serves = turn.Serve
		if slices.Equal(turn.Own, me.Owned) {
			return nil
		}
		_, err = tx.Exec(ctx, `UPDATE spool_owners SET segments = $2 WHERE epoch = $1`, l.epoch, turn.Own.String())
		return err
	})
	return serves, err
}

// plan makes a plan and notes it.
func plan(ctx context.Context, tx pgx.Tx, policy balance.Policy, q spool.Queue, site *siteNow) error {
	wishes := policy.Plan(site.Site)
	for i := range site.Members {
		m := &site.Members[i]
		wish, is := wishes[m.ID]
		if !is || slices.Equal(wish, m.Wished) {
			continue
		}
		m.Wished = wish
		if _, err := tx.Exec(ctx, `UPDATE spool_owners SET wished = $2 WHERE epoch = $1`, m.ID, wish.String()); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO spool_plans (queue, at) VALUES ($1, clock_timestamp()) ON CONFLICT (queue) DO UPDATE SET at = excluded.at`, string(q))
	return err
}

// siteNow is a site, and what a turn depends on beside it.
type siteNow struct {
	balance.Site
	age  time.Duration // of the plan
	late bool          // the lease of a member has ended
	ends segment.Set   // what such have that are in the middle of a change
	next time.Duration // until the next lease ends
}

// expiry is how long after the end of a lease one looks: not before.
const expiry = 5 * time.Millisecond

// site reads who is there and what operators want.
func (s *Spool) site(ctx context.Context, tx rowsQuerier, q spool.Queue) (site siteNow, err error) {
	site.next, site.age = time.Hour, time.Hour
	owners, err := readOwners(ctx, tx, true)
	if err != nil {
		return site, err
	}
	for _, o := range owners {
		if o.Queue != q {
			continue
		}
		if o.left < 0 {
			site.late, site.ends = true, site.ends.Union(o.Segments)
			continue
		}
		site.next = min(site.next, o.left+expiry)
		site.Members = append(site.Members, balance.Member{ID: o.Epoch, Host: o.Host, Fixed: !o.Auto, Owned: o.Segments, Wished: o.wished,
			Rate: o.Rate, Sure: o.sure, Failing: o.Failing, Silent: o.Auto && o.left < o.lease*3/4})
	}
	rows, err := tx.Query(ctx, `SELECT 'plan', '', CAST(extract(epoch FROM clock_timestamp() - at) * 1000000 AS BIGINT), 0 FROM spool_plans WHERE queue = $1
		UNION ALL SELECT 'drain', host, 0, 0 FROM spool_drains
		UNION ALL SELECT 'pin', host, first, last FROM spool_pins WHERE $1 = 'outgoing'`, string(q))
	if err != nil {
		return site, err
	}
	var kind, host string
	var a, b int64
	_, err = pgx.ForEachRow(rows, []any{&kind, &host, &a, &b}, func() error {
		switch kind {
		case "plan":
			site.age = time.Duration(a) * time.Microsecond
		case "drain":
			site.Drained = append(site.Drained, host)
		case "pin":
			site.Pins = append(site.Pins, balance.Pin{Range: segment.Range{First: segment.Key(a), Last: segment.Key(b)}, Host: host})
		}
		return nil
	})
	return site, err
}

// ownerRow is an owner, and until when its lease lasts.
type ownerRow struct {
	spool.Ownership
	wished segment.Set
	sure   float64
	lease  time.Duration
	until  time.Time
	left   time.Duration
}

// rowsQuerier is a pool or a transaction.
type rowsQuerier interface {
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
}

// readOwners reads who has a lease, or had one of which nothing has been seen since it ended.
func readOwners(ctx context.Context, tx rowsQuerier, ended bool) ([]ownerRow, error) {
	rows, err := tx.Query(ctx, `SELECT epoch, queue, segments, wished, auto, name, host, pid, rate, sure, failing, done, flow, since, lease, until,
		CAST(extract(epoch FROM until - clock_timestamp()) * 1000000 AS BIGINT)
		FROM spool_owners WHERE $1 OR until >= clock_timestamp() ORDER BY epoch`, ended)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (o ownerRow, err error) {
		var set, wished string
		var lease, left int64
		if err := row.Scan(&o.Epoch, &o.Queue, &set, &wished, &o.Auto, &o.Name, &o.Host, &o.PID, &o.Rate, &o.sure, &o.Failing, &o.Done, &o.Flow, &o.Since, &lease, &o.until, &left); err != nil {
			return o, err
		}
		o.lease, o.left = time.Duration(lease)*time.Microsecond, time.Duration(left)*time.Microsecond
		var err1, err2 error
		o.Segments, err1 = segment.ParseAny(set)
		o.wished, err2 = segment.ParseAny(wished)
		return o, errors.Join(err1, err2)
	})
}

// takeLeases waits for others of the site that take segments.
var takeLeases = `SELECT pg_advisory_xact_lock(` + postgres.Lock(leaseLock) + `)`

// lockOwners has whoever takes segments come one after the other, so that of two who look
// together the second sees the first, and ends leases that are out. One that is in the middle
// of a change stays: the server ends that soon, if its client hangs. A server whose clock was set back,
// or whose standby took over and is behind, would keep leases of the dead for as long: none
// lasts longer than if it had been renewed now.
func lockOwners(ctx context.Context, tx pgx.Tx) ([]ownerRow, error) {
	if _, err := tx.Exec(ctx, takeLeases); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `UPDATE spool_owners SET until = clock_timestamp() + lease * interval '1 microsecond' WHERE epoch IN
		(SELECT epoch FROM spool_owners WHERE lease > 0 AND until > clock_timestamp() + 1.5 * lease * interval '1 microsecond' FOR NO KEY UPDATE SKIP LOCKED)`); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM spool_owners WHERE epoch IN
		(SELECT epoch FROM spool_owners WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED)`); err != nil {
		return nil, err
	}
	return readOwners(ctx, tx, true)
}

// Owners implements spool.Admin.
func (s *Spool) Owners(ctx context.Context) ([]spool.Ownership, error) {
	rows, err := readOwners(ctx, s.pool, false)
	if err != nil {
		return nil, fmt.Errorf("read the owners: %w", err)
	}
	out := make([]spool.Ownership, len(rows))
	for i, r := range rows {
		out[i] = r.Ownership
		out[i].Coming = r.wished.Without(r.Segments)
	}
	return out, nil
}
