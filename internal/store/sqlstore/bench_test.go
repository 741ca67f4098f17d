package sqlstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func makeList(tb testing.TB, s *Store, local string) *list.List {
	tb.Helper()
	l := &list.List{Address: address.Address{Local: local, Domain: "lists.test"}, Settings: list.Defaults()}
	if err := s.CreateList(tb.Context(), l); err != nil {
		tb.Fatal(err)
	}
	return l
}

// someMembers yields n members of some hundred domains, in no order.
func someMembers(n int) iter.Seq2[list.Membership, error] {
	return func(yield func(list.Membership, error) bool) {
		for i := range n {
			r := uint32(i) * 2654435761 // a permutation of the numbers
			a := address.Address{Local: "member" + strconv.FormatUint(uint64(r), 10), Domain: "dom" + strconv.Itoa(int(r>>7)%400) + ".example.net"}
			if !yield(list.Membership{Address: a}, nil) {
				return
			}
		}
	}
}

func addMany(tb testing.TB, s *Store, l *list.List, n int) {
	tb.Helper()
	r, err := s.AddMembers(tb.Context(), l.ID, someMembers(n), nil)
	if err != nil || r.Added != int64(n) {
		tb.Fatalf("added %+v of %d: %v", r, n, err)
	}
}

// BenchmarkResolve is lmtpd's look-up at RCPT; it must not grow with the number of lists.
func BenchmarkResolve(b *testing.B) {
	for _, lists := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("%d lists", lists), func(b *testing.B) {
			s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
			tx, err := s.writer.Begin()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := tx.Exec(`INSERT INTO domains VALUES ('lists.test', 0)`); err != nil {
				b.Fatal(err)
			}
			for i := range lists {
				a := address.Address{Local: fmt.Sprintf("list%d", i), Domain: "lists.test"}
				if _, err := tx.Stmt(s.q.addList).Exec(key(a), a.Domain, a.Local, "{}", 0); err != nil {
					b.Fatal(err)
				}
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				a := address.Address{Local: fmt.Sprintf("list%d-owner", i*7919%lists), Domain: "lists.test"}
				if _, err := s.Resolve(context.Background(), a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkList is the pipeline's reading of a list's settings for each post.
func BenchmarkList(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
	l := makeList(b, s, "dev")
	for b.Loop() {
		if _, err := s.List(context.Background(), l.Address); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemberships is the look-up of one sender on a list of 100,000.
func BenchmarkMemberships(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
	l := makeList(b, s, "dev")
	addMany(b, s, l, 100_000)
	for b.Loop() {
		if _, err := s.Memberships(context.Background(), l.ID, []address.Address{{Local: "nobody", Domain: "example.net"}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFilePost is in the path of every post: about one sync of the disk.
func BenchmarkFilePost(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
	l := makeList(b, s, "dev")
	var worst time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		p := store.Post{ListID: l.ID, Entry: fmt.Sprintf("%016x", i), Digest: binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i)*0x9e3779b97f4a7c15), At: start}
		if _, err := s.FilePost(context.Background(), p, true, time.Hour); err != nil {
			b.Fatal(err)
		}
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Microseconds()), "µs-worst")
}

// BenchmarkPeekPost is FilePost without the sync.
func BenchmarkPeekPost(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
	l := makeList(b, s, "dev")
	for b.Loop() {
		p := store.Post{ListID: l.ID, Entry: "e", Digest: []byte("d"), At: time.Now()}
		if _, err := s.PeekPost(context.Background(), p, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkImport adds members to an empty list.
func BenchmarkImport(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d members", n), func(b *testing.B) {
			s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
			for i := 0; b.Loop(); i++ {
				addMany(b, s, makeList(b, s, fmt.Sprintf("dev%d", i)), n)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "members/s")
		})
	}
}

// BenchmarkRead reads a list of 100,000 members to its end.
func BenchmarkRead(b *testing.B) {
	const n = 100_000
	s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
	l := makeList(b, s, "dev")
	addMany(b, s, l, n)
	f := store.Filter{Roles: []list.Role{list.Member}, Modes: []list.Mode{list.Regular}, Statuses: []list.Status{list.Enabled}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.Run("Recipients", func(b *testing.B) {
		benchmarkRead(b, n, func(yield func(store.Recipient, error) bool) {
			for some, err := range s.Recipients(ctx, store.Source{ListID: l.ID, Filter: f}) {
				for _, r := range some {
					yield(r, err)
				}
			}
		})
	})
	b.Run("Members", func(b *testing.B) { benchmarkRead(b, n, s.Members(ctx, l.ID, f)) })
}

// BenchmarkMerged reads two lists of 100,000 of which half is in common, as a post to a list
// that includes another does, beside the same two one after the other.
func BenchmarkMerged(b *testing.B) {
	const n = 100_000
	s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
	f := store.Filter{Roles: []list.Role{list.Member}, Modes: []list.Mode{list.Regular}, Statuses: []list.Status{list.Enabled}}
	var sources []store.Source
	for i, name := range []string{"dev", "all"} {
		l := makeList(b, s, name)
		from := i * n / 2
		_, err := s.AddMembers(b.Context(), l.ID, func(yield func(list.Membership, error) bool) {
			i := 0
			for m, err := range someMembers(from + n) {
				if i++; i > from && !yield(m, err) {
					return
				}
			}
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, store.Source{ListID: l.ID, Filter: f})
	}
	read := func(sources ...store.Source) iter.Seq2[store.Recipient, error] {
		return func(yield func(store.Recipient, error) bool) {
			for some, err := range s.Recipients(b.Context(), sources...) {
				if err != nil {
					yield(store.Recipient{}, err)
				}
				for _, r := range some {
					yield(r, nil)
				}
			}
		}
	}
	b.Run("together", func(b *testing.B) { benchmarkRead(b, n+n/2, read(sources...)) })
	b.Run("all without dev", func(b *testing.B) {
		except := sources[0]
		except.Except = true
		benchmarkRead(b, n/2, read(sources[1], except))
	})
	b.Run("one after the other", func(b *testing.B) {
		benchmarkRead(b, 2*n, func(yield func(store.Recipient, error) bool) {
			for _, src := range sources {
				for r, err := range read(src) {
					yield(r, err)
				}
			}
		})
	})
}

func benchmarkRead[T any](b *testing.B, n int, rows iter.Seq2[T, error]) {
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		for _, err := range rows {
			if err != nil {
				b.Fatal(err)
			}
			got++
		}
		if got != n {
			b.Fatalf("%d rows", got)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkDelete deletes a list of 200,000 members in its one transaction.
func BenchmarkDelete(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "mlist.db"))
	for b.Loop() {
		b.StopTimer()
		l := makeList(b, s, "dev")
		addMany(b, s, l, 200_000)
		b.StartTimer()
		if err := s.DeleteList(context.Background(), l.Address); err != nil {
			b.Fatal(err)
		}
	}
}
