package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/spool/pg"
	"github.com/mlist/mlist/internal/spool/transfer"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// A move goes through these steps; killed after any of them it is run again, and does what is left:
//
//  1. The stores' rows and the queues' messages are copied while mlist runs. The copies say that
//     they are not complete, and nobody opens them.
//  2. mlist lets go of the old ones. (If this command is killed now, mlist takes them up again.)
//  3. What has changed is copied, until a comparison finds no difference.
//  4. The old queues say that their mail is elsewhere. From here on there is no way back.
//  5. The copies no longer say that they are incomplete.
//  6. The configuration names them, and mlist goes on.
//  7. The old queues are emptied.

// moverName is what others are told who want what is moved.
func moverName() string { return fmt.Sprintf("mlist store migrate (pid %d)", os.Getpid()) }

func (m *siteMove) say(format string, args ...any) {
	m.bar.clear()
	fmt.Fprintf(m.bar.writer(m.a.err), format+"\n", args...)
}

func (m *siteMove) run(ctx context.Context) error {
	begun := time.Now()
	defer func() { m.result.Seconds = time.Since(begun).Seconds() }()
	live, err := ask(ctx, m.cfg)
	if err != nil {
		return err
	}
	if err := m.mayStay(live); err != nil {
		return err
	}
	if err := m.open(ctx); err != nil {
		return err
	}
	if m.flags.dry {
		return m.try(ctx)
	}
	left, err := m.left(ctx)
	if err != nil {
		return err
	}
	if err := m.unowned(ctx, live); err != nil {
		return err
	}
	if !left {
		if err := m.copyRunning(ctx, len(live) > 0); err != nil {
			return err
		}
	}
	if err := m.pause(ctx, live, left); err != nil {
		return err
	}
	if m.spoolFrom != nil {
		return m.spoolFrom.Clear(ctx)
	}
	return nil
}

// mayStay refuses to move under processes that cannot be made to follow.
func (m *siteMove) mayStay(live []running) error {
	if m.flags.dry {
		return nil
	}
	for _, r := range live {
		if !m.flags.switchTo {
			return withHint(fmt.Errorf("mlist is running (pid %d): what it writes now would be missing in the copy", r.PID),
				"--switch has it pause, and go on with the new place. Or: %s", stopAll)
		}
		if r.Version != versionText() {
			return withHint(fmt.Errorf("mlist %s is running (pid %d), and this is %s", r.Version, r.PID, versionText()), "Restart it first, so that it is this version, too.")
		}
	}
	return nil
}

// open opens both stores and both spools.
func (m *siteMove) open(ctx context.Context) error {
	styles, err := list.ReadStyles(m.cfg.Styles)
	if err != nil {
		return err
	}
	m.result.From, m.result.To, m.result.DryRun = m.cfg.Store.URL, m.next.Store.URL, m.flags.dry
	if m.cfg.Store.URL != m.next.Store.URL {
		if m.storeFrom, err = sqlstore.Open(ctx, m.cfg.Store.URL, sqlstore.Options{Styles: styles}); err != nil {
			return err
		}
		m.closers = append(m.closers, m.storeFrom.Close)
		if m.storeTo, err = sqlstore.Open(ctx, m.next.Store.URL, sqlstore.Options{Migrate: true, Filling: true, Styles: styles}); err != nil {
			return err
		}
		m.closers = append(m.closers, m.storeTo.Close)
		m.result.From, m.result.To = m.storeFrom.URL(), m.storeTo.URL()
	}
	if m.cfg.Spool.URL == m.next.Spool.URL {
		return nil
	}
	if m.spoolFrom, err = openMovable(ctx, m.cfg, false); err != nil {
		return err
	}
	m.closers = append(m.closers, m.spoolFrom.Close)
	if m.spoolTo, err = openMovable(ctx, m.next, true); err != nil {
		return err
	}
	m.closers = append(m.closers, m.spoolTo.Close)
	// Of two such commands one is to be told.
	if m.lock, err = m.spoolTo.Own(ctx, spool.Bounces, segment.All, moverName()); err != nil {
		return err
	}
	m.mover = transfer.New(m.spoolFrom, m.spoolTo, func(done int64) { m.bar.show(done, -1) })
	m.result.Queues = &queuesJSON{From: m.spoolFrom.Name(), To: m.spoolTo.Name()}
	return nil
}

// openMovable opens a spool whose mail is moved.
func openMovable(ctx context.Context, c *config.Config, migrate bool) (spool.Movable, error) {
	log := slog.New(slog.DiscardHandler)
	if path, ok := spoolDir(c); ok {
		sp, err := dir.Open(path, dir.Options{Log: log, Moving: true})
		if err != nil {
			return nil, err
		}
		return sp, nil
	}
	sp, err := pg.Open(ctx, c.Spool.URL, pg.Options{Migrate: migrate, Log: log, Lease: c.Spool.Lease.Std(), Host: c.Spool.Host, Moving: true})
	if err != nil {
		return nil, err
	}
	return sp, nil
}

// left tells whether a move that was cut short had come to the point of no return.
func (m *siteMove) left(ctx context.Context) (bool, error) {
	if m.spoolFrom == nil {
		return false, nil
	}
	moves, err := m.spoolFrom.Moves(ctx)
	if err == nil && moves.To != "" && moves.To != m.spoolTo.Name() {
		err = fmt.Errorf("the queues in %s were moved to %s before", m.spoolFrom.Name(), moves.To)
	}
	return moves.To != "", err
}

// try copies the store and takes that back, and counts what is in the queues.
func (m *siteMove) try(ctx context.Context) error {
	if err := m.copyStore(ctx, sqlstore.TransferOptions{Dry: true}); err != nil || m.spoolFrom == nil {
		return err
	}
	r, err := transfer.Count(ctx, m.spoolFrom)
	m.result.Queues.Round = r
	return err
}

func (m *siteMove) copyStore(ctx context.Context, o sqlstore.TransferOptions) error {
	if m.storeTo == nil {
		return nil
	}
	m.result.Rows = 0
	o.Progress = func(t sqlstore.TableRows) {
		m.result.Rows += t.Rows
		m.bar.show(m.result.Rows, -1)
	}
	done, err := sqlstore.Transfer(ctx, m.storeFrom, m.storeTo, o)
	m.result.Tables, m.result.Already = done.Tables, done.Already
	return err
}

// copyRunning copies what there is while mlist runs, or only says where the mail is to come from.
func (m *siteMove) copyRunning(ctx context.Context, running bool) error {
	if running {
		m.say("Copying the store, while mlist runs.")
		if err := m.copyStore(ctx, sqlstore.TransferOptions{}); err != nil {
			return err
		}
	}
	if m.spoolTo == nil {
		return nil
	}
	if err := m.spoolTo.Fill(ctx, m.spoolFrom.Name()); err != nil || !running {
		return err
	}
	m.say("Copying the queues, while mlist runs.")
	for range roundsRunning {
		if r, err := m.mover.Round(ctx); err != nil || r.Changed == 0 {
			return err
		}
	}
	return nil
}

// roundsRunning is how often the queues are gone through while mlist runs: once to copy, once to
// read and compare what was copied, so that it need not be read in the pause.
const roundsRunning = 2

// pause is what is done while mlist does not run.
func (m *siteMove) pause(ctx context.Context, live []running, left bool) (err error) {
	begun := time.Now()
	resume, err := suspend(ctx, live)
	defer func() {
		resume()
		if err == nil && len(live) > 0 {
			err = m.goesOn(ctx, live, begun)
		}
	}()
	if err != nil {
		return err
	}
	if len(live) > 0 {
		m.say("mlist has paused.")
	}
	release, err := m.own(ctx)
	if err != nil {
		return err
	}
	err = m.finish(ctx, left)
	if rerr := release(); err == nil {
		err = rerr
	}
	return err
}

// suspend has processes let go of store and spool until resume, or the end of this one.
func suspend(ctx context.Context, live []running) (resume func(), err error) {
	var all []func()
	resume = func() {
		for _, f := range all {
			f()
		}
	}
	for _, r := range live {
		one, err := control.Suspend(ctx, r.path)
		if err != nil {
			return resume, withHint(err, "It goes on as before, and nothing was moved. Its log tells what keeps it.")
		}
		all = append(all, one)
	}
	return resume, nil
}

// own makes sure that nobody else has the old queues.
func (m *siteMove) own(ctx context.Context) (release func() error, err error) {
	var all []func() error
	if m.lock != nil {
		all = append(all, m.lock.Close)
	}
	release = func() error {
		var errs []error
		for _, f := range all {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	if err := m.unowned(ctx, nil); err != nil || m.spoolFrom == nil {
		return release, err
	}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces} {
		o, err := m.spoolFrom.Own(ctx, q, segment.All, moverName())
		if err != nil {
			return release, err
		}
		all = append(all, o.Close)
	}
	out, err := m.spoolFrom.OwnOutgoing(ctx, segment.All, moverName())
	if err != nil {
		return release, err
	}
	all = append(all, out.Close)
	return release, nil
}

// unowned waits until no daemon has the old queues, but for processes that are known: in a
// database, of one that was killed only the end of its lease tells.
func (m *siteMove) unowned(ctx context.Context, known []running) error {
	sp := spool.Spool(m.spoolFrom)
	if m.spoolFrom == nil {
		var err error
		if sp, err = openSpool(ctx, m.cfg, slog.New(slog.DiscardHandler), false); err != nil {
			return nil // there is none yet, or nobody can use it now
		}
		defer sp.Close() // nothing was written
	}
	for end := time.Now().Add(m.cfg.Spool.Lease.Std() + time.Second); ; {
		owners, err := sp.Owners(ctx)
		owners = slices.DeleteFunc(owners, func(o spool.Ownership) bool {
			return slices.ContainsFunc(known, func(r running) bool { return r.PID == o.PID })
		})
		if err != nil || len(owners) == 0 {
			return err
		}
		if _, isDir := spoolDir(m.cfg); isDir || time.Now().After(end) {
			return withHint(fmt.Errorf("mlist is running (%s): what it writes now would be missing in the copy", owners[0].Name), stopAll)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finish makes the copies complete, and has them take the place of what they are copies of.
func (m *siteMove) finish(ctx context.Context, left bool) error {
	filling := true
	if left { // it may have come even further
		var err error
		if m.storeTo != nil {
			if filling, err = m.storeTo.IsFilling(ctx); err != nil {
				return err
			}
		}
	}
	if filling {
		if err := m.copyStore(ctx, sqlstore.TransferOptions{Quiet: true}); err != nil {
			return err
		}
	}
	if m.spoolTo != nil {
		if err := m.finishQueues(ctx, left); err != nil {
			return err
		}
	}
	if m.storeTo != nil {
		if err := m.storeTo.Filled(ctx); err != nil {
			return err
		}
	}
	if m.spoolTo != nil {
		if err := m.spoolTo.Filled(ctx); err != nil {
			return err
		}
	}
	if !m.flags.switchTo {
		return nil
	}
	if err := replaceFile(m.path, m.text); err != nil {
		return withHint(fmt.Errorf("all is moved, but the configuration could not be changed: %w", err), "Change it by hand: %s. Then start mlist.", strings.Join(m.result.Change, ", "))
	}
	m.result.Switched = true
	return nil
}

func (m *siteMove) finishQueues(ctx context.Context, left bool) (err error) {
	if left {
		// If it is not being filled any more it is in use, and the old mail has gone out there.
		if moves, err := m.spoolTo.Moves(ctx); err != nil || moves.From != m.spoolFrom.Name() {
			return err
		}
		m.result.Queues.Round, err = m.mover.Finish(ctx)
		return err
	}
	if _, err := m.mover.Finish(ctx); err != nil {
		return err
	}
	if err := m.spoolFrom.Leave(ctx, m.spoolTo.Name()); err != nil {
		return err
	}
	// Whoever had opened it before may have put something there since.
	m.result.Queues.Round, err = m.mover.Finish(ctx)
	return err
}

const (
	// backTime is how long mlist may take to be there again.
	backTime = time.Minute
	backLook = 20 * time.Millisecond
)

// goesOn waits until mlist is there again.
func (m *siteMove) goesOn(ctx context.Context, live []running, begun time.Time) error {
	for _, r := range live {
		for end := time.Now().Add(backTime); ; {
			st, err := control.Ask(ctx, r.path)
			if err == nil && isReady(st) {
				break
			}
			if time.Now().After(end) {
				return withHint(fmt.Errorf("all is moved, but mlist (pid %d) is not there again: %w", r.PID, err), "Its log says why. `systemctl restart mlist.service`.")
			}
			select {
			case <-time.After(backLook):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	m.result.Pause = time.Since(begun).Seconds()
	m.say("mlist goes on.")
	return nil
}

// isReady tells whether all daemons of a process work.
func isReady(st control.Status) bool {
	for _, c := range st.Checks {
		if !c.OK && c.Reason == notReady {
			return false
		}
	}
	return len(st.Checks) > 0
}
