package pg

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// BenchmarkProgress is what a recipient costs who has a copy of their own, with so many
// connections at work.
func BenchmarkProgress(b *testing.B) {
	server := startServer(b)
	for _, connections := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(connections), func(b *testing.B) {
			s := open(b, freshSchema(b, server), Options{})
			in, err := s.Own(b.Context(), spool.Incoming, segment.All, "one")
			if err != nil {
				b.Fatal(err)
			}
			write(b, s, "dev@l.test", "hello")
			_, p := prepare(b, in, "")
			each := b.N/connections + 1
			for i := range connections {
				c := spool.Chunk{Variant: "plain"}
				for j := range each {
					c.Recipients = append(c.Recipients, fmt.Sprintf("r%d-%d@x.test", i, j))
				}
				if err := p.AddChunk(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
			if err := p.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
			out, err := s.OwnOutgoing(b.Context(), segment.All, "one")
			if err != nil {
				b.Fatal(err)
			}
			var chunks []*spool.Chunk
			for range connections {
				c, err := out.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				chunks = append(chunks, c)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			begun := time.Now()
			var group sync.WaitGroup
			for _, c := range chunks {
				group.Go(func() {
					for i := 0; i < each && left.Add(-1) >= 0; i++ {
						if err := out.Progress(c, i); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "recipients/s")
		})
	}
}
