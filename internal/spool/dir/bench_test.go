package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// rate runs f n times on several goroutines, and returns how often a second.
func rate(b *testing.B, writers, n int, f func(i int) error) float64 {
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
	return float64(n) / time.Since(start).Seconds()
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

// BenchmarkPut puts with 8 writers, beside the disk's own rate in the same run.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, benchWriters} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			dir := naiveDir(b)
			b.ResetTimer()
			puts := rate(b, writers, b.N, benchPut(s))
			b.StopTimer()
			disk := rate(b, writers, b.N, func(i int) error { return naive(dir, fmt.Sprint(i)) })
			b.ReportMetric(puts, "puts/s")
			b.ReportMetric(disk, "disk/s")
			b.ReportMetric(100*puts/disk, "%ofdisk")
		})
	}
}

// BenchmarkDiskLimit is the yardstick alone.
func BenchmarkDiskLimit(b *testing.B) {
	dir := naiveDir(b)
	b.ReportMetric(rate(b, benchWriters, b.N, func(i int) error { return naive(dir, fmt.Sprint(i)) }), "disk/s")
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
