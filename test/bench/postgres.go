package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/inject"
)

const (
	costLists = 10
	costPosts = 600
)

// postgres measures a site on PostgreSQL beside one on SQLite and a directory: what a post
// costs, one post to many, and outbound daemons that share a database, and the machine's cores.
func (b *bench) postgres(ctx context.Context) error { return b.onPostgres(ctx, b.shared) }

// onPostgres measures something with a server of its own.
func (b *bench) onPostgres(ctx context.Context, measure func(context.Context, *postgres.Server) error) error {
	server, err := postgres.Start(ctx, postgres.Options{Durable: true, Settings: map[string]string{"shared_buffers": "128MB"}})
	if errors.Is(err, postgres.ErrMissing) {
		fmt.Fprintf(os.Stderr, "bench: POSTGRESQL IS NOT MEASURED: %v\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	err = measure(ctx, server)
	return errors.Join(err, server.Stop())
}

func (b *bench) shared(ctx context.Context, server *postgres.Server) error {
	conn, err := pgx.Connect(ctx, server.URL("public"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // the server goes next
	url := strconv.Quote(server.URL("public"))
	site := func(name string, set map[string]string) (*harness.Mlist, error) {
		return harness.Install(filepath.Join(b.dir, name), b.dist, harness.Options{MTA: b.out.Addr().String(), Set: set})
	}
	onServer := func(name string, segments segment.Set) (*harness.Mlist, error) {
		return site(name, map[string]string{
			"store.url": url, "spool.url": url, "trace.dir": strconv.Quote(filepath.Join(b.dir, name, "trace")), "outbound.segments": strconv.Quote(segments.String()),
		})
	}
	own := b.mlist
	defer func() { b.mlist = own }()

	if err := b.cost(ctx, "SQLite and a directory", nil, nil); err != nil {
		return err
	}
	if b.mlist, err = onServer("pg", segment.All); err != nil {
		return err
	}
	defer b.mlist.Kill()
	if err := b.cost(ctx, "PostgreSQL", server, conn); err != nil {
		return err
	}
	if err := b.many100k(ctx, server, conn); err != nil {
		return err
	}
	for _, q := range []queue{
		{what: "1000 recipients a transaction", members: 100_000, posts: *large / 100_000, injector: sinkRate},
		{what: "one recipient a transaction", members: 20_000, posts: 1, settings: []string{"verp_delivery_interval=1"}, injector: eachRate},
	} {
		if err := b.sharing(ctx, q, server, conn, onServer); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
	}
	return nil
}

// cost measures what a post of 4 KB to a list of ten costs, from LMTP to the last delivery.
func (b *bench) cost(ctx context.Context, what string, server *postgres.Server, conn *pgx.Conn) error {
	var lists []string
	for i := range costLists {
		name := fmt.Sprintf("cost%d@lists.test", i)
		if _, err := b.list(ctx, name, 10); err != nil {
			return err
		}
		lists = append(lists, name)
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	b.out.Reset()
	var begun time.Time
	var cpu, serverCPU time.Duration
	var commits, wal int64
	for _, posts := range []int{costPosts / 10, costPosts} { // the first ones warm up
		begun, cpu = time.Now(), cpuOf(b.mlist.PID())
		if server != nil {
			serverCPU = cpuOf(server.PID())
			var err error
			if commits, err = transactions(ctx, conn); err == nil {
				wal, err = written(ctx, conn)
			}
			if err != nil {
				return err
			}
		}
		r, err := inject.Run(ctx, inject.Options{
			Addr: "unix:" + b.mlist.LMTP, Lists: lists, Sender: "author@net.test", Messages: posts, Connections: clients, Size: 4000, Tag: fmt.Sprint("cost", posts),
		})
		if err != nil {
			return err
		}
		if r.Accepted != posts {
			return fmt.Errorf("%d of %d posts were accepted", r.Accepted, posts)
		}
		if err := b.wait(ctx, int64(10*posts), 2*time.Minute); err != nil {
			return err
		}
		b.out.Reset()
	}
	took := time.Since(begun)
	per := func(d time.Duration) float64 { return ms(d) / costPosts }
	b.add(figure{Name: "posts to ten lists of 10, from LMTP to the last delivery, " + what, Value: costPosts / took.Seconds(), Unit: "posts/s"})
	b.add(figure{Name: "CPU of mlist and its plugins for each, " + what, Value: per(cpuOf(b.mlist.PID()) - cpu), Unit: "ms"})
	if server != nil {
		b.add(figure{Name: "CPU of the server for each", Value: per(cpuOf(server.PID()) - serverCPU), Unit: "ms"})
		if err := b.mlist.Stop(); err != nil { // connections that end tell of their transactions
			return err
		}
		after, err := transactions(ctx, conn)
		if err != nil {
			return err
		}
		upTo, err := written(ctx, conn)
		if err != nil {
			return err
		}
		b.add(figure{Name: "write-ahead log for each", Value: float64(upTo-wal) / costPosts / 1024, Unit: "KiB"})
		b.add(figure{Name: "transactions for each, reads included", Value: float64(after-commits) / costPosts, Unit: "transactions"})
	}
	return b.mlist.Stop()
}

// transactions is how many the server has committed.
func transactions(ctx context.Context, conn *pgx.Conn) (n int64, err error) {
	err = conn.QueryRow(ctx, `SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`).Scan(&n)
	return n, err
}

// written is how much write-ahead log the server has written, in octets.
func written(ctx context.Context, conn *pgx.Conn) (n int64, err error) {
	err = conn.QueryRow(ctx, `SELECT (pg_current_wal_lsn() - '0/0')::bigint`).Scan(&n)
	return n, err
}

// many100k measures one post to 100,000 members, end to end.
func (b *bench) many100k(ctx context.Context, server *postgres.Server, conn *pgx.Conn) error {
	const members, rounds = 100_000, 3
	limit, err := sinkRate(ctx, b.out.Addr().String(), clients)
	if err != nil {
		return err
	}
	if _, err := b.list(ctx, "large@lists.test", members); err != nil {
		return err
	}
	var octets int64
	if err := conn.QueryRow(ctx, `SELECT pg_total_relation_size('members')`).Scan(&octets); err != nil {
		return err
	}
	b.add(figure{Name: "disk for each member, indexes included", Value: float64(octets) / members, Unit: "octets"})
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	wal, err := written(ctx, conn)
	if err != nil {
		return err
	}
	var times []time.Duration
	cpu, serverCPU := cpuOf(b.mlist.PID()), cpuOf(server.PID())
	for n := range rounds + 1 {
		b.out.Reset()
		start := time.Now()
		if err := b.post(ctx, "large@lists.test", fmt.Sprint("large", n), 4000); err != nil {
			return err
		}
		if err := b.wait(ctx, members, time.Minute); err != nil {
			return err
		}
		if n > 0 {
			times = append(times, time.Since(start))
		}
	}
	per := func(d time.Duration) float64 { return d.Seconds() * 1e6 / (members * (rounds + 1)) }
	b.add(figure{Name: "one post to 100,000 members on PostgreSQL, end to end", Value: members / median(times).Seconds(), Unit: "deliveries/s",
		Beside: "the sink, fed by a client that does nothing else", Limit: limit, Least: 100_000})
	b.add(figure{Name: "CPU of mlist for each of these deliveries", Value: per(cpuOf(b.mlist.PID()) - cpu), Unit: "µs", Target: 3})
	b.add(figure{Name: "CPU of the server for each of these deliveries", Value: per(cpuOf(server.PID()) - serverCPU), Unit: "µs"})
	upTo, err := written(ctx, conn)
	if err != nil {
		return err
	}
	b.add(figure{Name: "write-ahead log for each of these deliveries", Value: float64(upTo-wal) / (members * (rounds + 1)), Unit: "octets"})
	return b.mlist.Stop()
}

// sharing measures how fast 1, 2 and 4 outbound daemons empty one queue, each with its share
// of the segments. On one machine they share its cores, too.
func (b *bench) sharing(ctx context.Context, q queue, server *postgres.Server, conn *pgx.Conn,
	install func(string, segment.Set) (*harness.Mlist, error)) error {
	list := fmt.Sprintf("shared%d@lists.test", q.members)
	if _, err := b.list(ctx, list, q.members); err != nil {
		return err
	}
	if len(q.settings) > 0 {
		if _, err := b.mlist.Command(ctx, nil, append([]string{"list", "set", list}, q.settings...)...); err != nil {
			return err
		}
	}
	all := int64(q.posts * q.members)
	for _, daemons := range []int{1, 2, 4} {
		limit, err := q.injector(ctx, b.out.Addr().String(), clients)
		if err != nil {
			return err
		}
		if err := b.fillShared(ctx, list, fmt.Sprint(daemons), q.posts, conn); err != nil {
			return err
		}
		took, err := b.emptyShared(ctx, daemons, all, install)
		if err != nil {
			return err
		}
		b.add(figure{Name: fmt.Sprintf("a queue of %s on PostgreSQL, %s, outbound daemons: %d", group(int(all)), q.what, daemons),
			Value: float64(all) / took.Seconds(), Unit: "recipients/s", Beside: "the sink, fed by a client that does nothing else", Limit: limit})
	}
	return nil
}

// fillShared puts posts into the outgoing queue of the database.
func (b *bench) fillShared(ctx context.Context, list, tag string, posts int, conn *pgx.Conn) error {
	for _, daemon := range []string{"lmtpd", "pipeline"} {
		if err := b.mlist.StartDaemon(ctx, daemon); err != nil {
			return err
		}
		if daemon == "lmtpd" {
			for n := range posts {
				if err := b.post(ctx, list, fmt.Sprint(list, tag, "-", n), 4000); err != nil {
					return err
				}
			}
		}
		for end := time.Now().Add(2 * time.Minute); daemon == "pipeline"; time.Sleep(50 * time.Millisecond) {
			var waiting int
			if err := conn.QueryRow(ctx, `SELECT count(*) FROM spool_entries`).Scan(&waiting); err != nil {
				return err
			}
			if waiting == 0 {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("%d posts wait\n%s", waiting, b.mlist.Log())
			}
		}
		if err := b.mlist.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// emptyShared has so many daemons deliver all that is queued.
func (b *bench) emptyShared(ctx context.Context, daemons int, recipients int64, install func(string, segment.Set) (*harness.Mlist, error)) (time.Duration, error) {
	b.out.Reset()
	var running []*harness.Mlist
	defer func() {
		for _, m := range running {
			m.Kill()
		}
	}()
	for i := range daemons {
		first := i << 16 / daemons
		last := (i+1)<<16/daemons - 1
		m, err := install(fmt.Sprintf("out%dof%d", i, daemons), segment.Set{{First: segment.Key(first), Last: segment.Key(last)}})
		if err != nil {
			return 0, err
		}
		if err := m.StartDaemon(ctx, "outbound"); err != nil {
			return 0, err
		}
		running = append(running, m)
	}
	if err := b.wait(ctx, recipients, 2*time.Minute); err != nil {
		var logs strings.Builder
		for _, m := range running {
			logs.WriteString(m.Log())
		}
		return 0, fmt.Errorf("%w\n%s", err, logs.String())
	}
	stats := b.out.Stats()
	for _, m := range running {
		if err := m.Stop(); err != nil {
			return 0, err
		}
	}
	return stats.Last.Sub(stats.First), nil
}
