package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// keep is what a spool without any sharing does to keep a message: write, sync, rename,
// sync the directory.
func keep(dir *os.File, name string, data []byte) error {
	path := filepath.Join(dir.Name(), name)
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return dir.Sync()
}

// diskRate is how many messages/s so many writers keep. What they have written stays until
// the bench is over: for minutes after many files were removed some file systems are slow
// to make new ones beside them, and the part that comes next would pay for it.
func diskRate(base string, writers int, long time.Duration) (float64, error) {
	dir, err := limitDir(base)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	var kept atomic.Int64
	var g errgroup.Group
	end := time.Now().Add(long)
	for w := range writers {
		g.Go(func() error {
			data := make([]byte, 4500)
			for n := 0; time.Now().Before(end); n++ {
				if err := keep(dir, fmt.Sprintf("%d-%d", w, n), data); err != nil {
					return err
				}
				kept.Add(1)
			}
			return nil
		})
	}
	err = g.Wait()
	return float64(kept.Load()) / long.Seconds(), err
}

// diskLatency is the median time of keeping one message on an idle disk.
func diskLatency(base string, times int) (time.Duration, error) {
	dir, err := limitDir(base)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	var took []time.Duration
	data := make([]byte, 4500)
	for n := range times {
		start := time.Now()
		if err := keep(dir, fmt.Sprint(n), data); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	return median(took), nil
}

func limitDir(base string) (*os.File, error) {
	path, err := os.MkdirTemp(base, "limit-")
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// sinkRate is how many recipients/s the sink takes over so many connections from a
// client that sends ready-made transactions of a thousand.
func sinkRate(ctx context.Context, addr string, connections int) (float64, error) {
	const rounds, recipients = 200, 1000
	var envelope strings.Builder
	envelope.WriteString("MAIL FROM:<dev-bounces@lists.test>\r\n")
	for i := range recipients {
		fmt.Fprintf(&envelope, "RCPT TO:<member%07d@net%02d.test>\r\n", i, i%20)
	}
	envelope.WriteString("DATA\r\n")
	body := strings.Repeat("Subject: x\r\n\r\n", 1) + strings.Repeat("a line of text that is seventy characters long, more or less so.......\r\n", 60) + ".\r\n"
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range connections {
		g.Go(func() error { return blast(ctx, addr, envelope.String(), body, rounds, recipients+2) })
	}
	err := g.Wait()
	return float64(connections*rounds*recipients) / time.Since(start).Seconds(), err
}

// blast sends one transaction again and again.
func blast(ctx context.Context, addr, envelope, body string, rounds, replies int) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReaderSize(c, 64<<10)
	read := func(lines int) error {
		for range lines {
			if _, err := r.ReadSlice('\n'); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(1); err != nil {
		return err
	}
	for range rounds {
		sent := make(chan error, 1)
		go func() { _, err := c.Write([]byte(envelope)); sent <- err }()
		if err := errors.Join(read(replies), <-sent); err != nil {
			return err
		}
		if _, err := c.Write([]byte(body)); err != nil {
			return err
		}
		if err := read(1); err != nil {
			return err
		}
	}
	return nil
}
