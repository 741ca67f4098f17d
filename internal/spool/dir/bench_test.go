package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

const benchWriters = 8

var (
	benchMessage = make([]byte, 4096)
	ctx0         = context.Background()
)

// naive is what the disk does without shared syncs: write, sync, rename, sync the directory.
func naive(dir, name string) error {
	temp := filepath.Join(dir, "tmp", name)
	if err := system.writeFile(temp, benchMessage); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, "new", name)); err != nil {
		return err
	}
	return system.syncDir(filepath.Join(dir, "new"))
}

func naiveDir(b *testing.B) string {
	dir := b.TempDir()
	for _, d := range []string{"tmp", "new"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// timed runs f n times on several goroutines, and returns how long that took.
func timed(b *testing.B, writers, n int, f func(i int) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range writers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func benchPut(s *Spool) func(int) error {
	return func(int) error {
		d, err := s.Create(ctx0)
		if err != nil {
			return err
		}
		defer d.Close()
		if _, err := d.Write(benchMessage); err != nil {
			return err
		}
		_, err = d.Put(ctx0, spool.Incoming, "", spool.Envelope{List: "dev@l.test"})
		return err
	}
}

// benchSlice is how many puts are made before the yardstick has its turn: short, so that
// whatever else the machine does hits both alike.
const benchSlice = 64

// BenchmarkPut puts with 1 and 8 writers, in turns with the yardstick, what the disk does
// for as many writers that share nothing. The ratio is what to look at.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, benchWriters} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			dir := naiveDir(b)
			var puts, disk time.Duration
			b.ResetTimer()
			b.StopTimer()
			for done := 0; done < b.N; done += benchSlice {
				n := min(benchSlice, b.N-done)
				b.StartTimer()
				puts += timed(b, writers, n, benchPut(s))
				b.StopTimer()
				disk += timed(b, writers, n, func(i int) error { return naive(dir, fmt.Sprint(done+i)) })
			}
			b.ReportMetric(float64(b.N)/puts.Seconds(), "puts/s")
			b.ReportMetric(float64(b.N)/disk.Seconds(), "disk/s")
			b.ReportMetric(100*disk.Seconds()/puts.Seconds(), "%ofdisk")
		})
	}
}

// BenchmarkDiskLimit is the yardstick alone.
func BenchmarkDiskLimit(b *testing.B) {
	dir := naiveDir(b)
	took := timed(b, benchWriters, b.N, func(i int) error { return naive(dir, fmt.Sprint(i)) })
	b.ReportMetric(float64(b.N)/took.Seconds(), "disk/s")
}

// BenchmarkPost is the spool's share of a post to ten members: put, take, commit,
// take, settle.
func BenchmarkPost(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	in, err := s.Own(ctx0, spool.Incoming, segment.All, "bench")
	if err != nil {
		b.Fatal(err)
	}
	out, err := s.OwnOutgoing(ctx0, segment.All, "bench")
	if err != nil {
		b.Fatal(err)
	}
	put := benchPut(s)
	var committing time.Duration
	b.ResetTimer()
	for range b.N {
		if err := put(0); err != nil {
			b.Fatal(err)
		}
		e, err := in.Next(ctx0)
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		p, err := in.Prepare(ctx0, e)
		if err != nil {
			b.Fatal(err)
		}
		w, err := p.Content("plain")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(benchMessage); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		if err := p.AddChunk(ctx0, spool.Chunk{Variant: "plain", Recipients: make([]string, 10)}); err != nil {
			b.Fatal(err)
		}
		if err := p.Commit(ctx0); err != nil {
			b.Fatal(err)
		}
		committing += time.Since(start)
		c, err := out.Next(ctx0)
		if err != nil {
			b.Fatal(err)
		}
		if err := out.Settle(ctx0, c, spool.Settlement{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(committing.Microseconds())/1000/float64(b.N), "ms/commit")
}

// BenchmarkDeepQueue takes over a queue of 100,000 entries of 100 lists: how long until
// the first is handed out, and how fast they go then.
func BenchmarkDeepQueue(b *testing.B) {
	path := b.TempDir()
	s, err := Open(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const deep = 100_000
	for i := range deep {
		list := fmt.Sprintf("l%d@l.test", i%100)
		h := entryHead(spool.Incoming, spool.Envelope{List: list}, 0)
		h.WriteByte('\n')
		n := entryName{s.newID(), segment.KeyOf(list)}
		if err := os.WriteFile(s.path(spool.Incoming, n.String()), h.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		start := time.Now()
		o, err := s.Own(ctx0, spool.Incoming, segment.All, "bench")
		if err != nil {
			b.Fatal(err)
		}
		var first time.Duration
		for i := range 2 * 16384 {
			e, err := o.Next(ctx0)
			if err != nil {
				b.Fatal(err)
			}
			if i == 0 {
				first = time.Since(start)
			}
			o.Release(e)
		}
		b.ReportMetric(float64(first.Milliseconds()), "ms/first")
		b.ReportMetric(2*16384/(time.Since(start)-first).Seconds(), "next/s")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MB")
		if err := o.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
