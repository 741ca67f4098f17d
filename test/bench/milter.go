package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	mta "github.com/d--j/go-milter"
	"golang.org/x/sync/errgroup"
)

const (
	milterSessions = 200
	milterMessages = 10 // of each session
	milterPause    = 500 * time.Millisecond
)

// milter measures how long an SMTP client waits for the milter at RCPT and at the end of
// a message, with many sessions at once, each with the pauses that a network makes.
func (b *bench) milter(ctx context.Context) error {
	if _, err := b.list(ctx, "dev@lists.test", 10); err != nil {
		return err
	}
	if _, err := b.list(ctx, "news@lists.test", 10); err != nil {
		return err
	}
	if _, err := b.mlist.Command(ctx, nil, "list", "set", "news@lists.test", "sender_headers=envelope", `reject_these_nonmembers=^.*@spam\.test$`); err != nil {
		return err
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	known, err := b.milterCPU("dev@lists.test")
	if err != nil {
		return err
	}
	asked, err := b.milterCPU("news@lists.test")
	if err != nil {
		return err
	}
	waits := make([]milterWaits, milterSessions)
	g, ctx := errgroup.WithContext(ctx)
	for i := range waits {
		g.Go(func() error { return waits[i].session(ctx, b.mlist.Milter, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var all milterWaits
	for _, w := range waits {
		all.rcpt, all.end = append(all.rcpt, w.rcpt...), append(all.end, w.end...)
	}
	b.add(figure{Name: fmt.Sprintf("milter, %d sessions at once: answer at RCPT, p50", milterSessions), Value: ms(percentile(all.rcpt, 50)), Unit: "ms"})
	b.add(figure{Name: "the same, p99", Value: ms(percentile(all.rcpt, 99)), Unit: "ms", Target: 5})
	b.add(figure{Name: "CPU of all processes for each answer at RCPT, of a list that goes by From", Value: known, Unit: "µs"})
	b.add(figure{Name: "the same, of a list whose handlers are asked about each sender", Value: asked, Unit: "µs"})
	b.add(figure{Name: "the same: verdict at the end of a message of 10 KB, p50", Value: ms(percentile(all.end, 50)), Unit: "ms"})
	b.add(figure{Name: "the same, p99", Value: ms(percentile(all.end, 99)), Unit: "ms"})
	return nil
}

const (
	milterTransactions = 500 // each with a sender of its own
	milterRecipients   = 10  // of each
)

// milterCPU is what one answer at RCPT costs, in microseconds.
func (b *bench) milterCPU(list string) (float64, error) {
	s, err := milterSession(b.mlist.Milter)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	cpu := cpuOf(b.mlist.PID())
	for i := range milterTransactions {
		if _, err := s.Mail(fmt.Sprintf("author%d@net.test", i), ""); err != nil {
			return 0, err
		}
		for range milterRecipients {
			if a, err := s.Rcpt(list, ""); err != nil || a.Type != mta.ActionContinue {
				return 0, fmt.Errorf("RCPT: %v, %w", a, err)
			}
		}
		if err := s.Abort(nil); err != nil {
			return 0, err
		}
	}
	return float64((cpuOf(b.mlist.PID()) - cpu).Microseconds()) / (milterTransactions * milterRecipients), nil
}

// milterSession is one of an MTA, whose client has greeted.
func milterSession(path string) (*mta.ClientSession, error) {
	s, err := mta.NewClient("unix", path).Session(mta.NewMacroBag())
	if err != nil {
		return nil, fmt.Errorf("milter session: %w", err)
	}
	if _, err = s.Conn("client.test", mta.FamilyInet, 4321, "192.0.2.1"); err == nil {
		_, err = s.Helo("client.test")
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// milterWaits are what the clients waited for answers.
type milterWaits struct{ rcpt, end []time.Duration }

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)*p/100, len(all)-1)]
}

// session plays an MTA whose client sends several messages.
func (w *milterWaits) session(ctx context.Context, path string, n int) error {
	s, err := milterSession(path)
	if err != nil {
		return err
	}
	defer s.Close()
	for range milterMessages {
		// Sessions do not move in step.
		if err := pause(ctx, milterPause+time.Duration(n)*2*time.Millisecond); err != nil {
			return err
		}
		if err := w.message(s); err != nil {
			return fmt.Errorf("milter session: %w", err)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (w *milterWaits) message(s *mta.ClientSession) error {
	if _, err := s.Mail("author@net.test", ""); err != nil {
		return err
	}
	begun := time.Now()
	a, err := s.Rcpt("dev@lists.test", "")
	if err != nil {
		return err
	}
	w.rcpt = append(w.rcpt, time.Since(begun))
	if a.Type != mta.ActionContinue {
		return fmt.Errorf("RCPT: %v", a)
	}
	if _, err := s.DataStart(); err != nil {
		return err
	}
	for _, f := range [][2]string{{"From", "author@net.test"}, {"To", "dev@lists.test"}, {"Subject", "hello"}, {"Message-ID", "<a@net.test>"}} {
		if _, err := s.HeaderField(f[0], f[1], nil); err != nil {
			return err
		}
	}
	if _, err := s.HeaderEnd(); err != nil {
		return err
	}
	if _, err := s.BodyChunk(slices.Repeat([]byte("A line of text.\r\n"), 600)); err != nil {
		return err
	}
	begun = time.Now()
	_, a, err = s.End()
	if err != nil {
		return err
	}
	w.end = append(w.end, time.Since(begun))
	if a.Type != mta.ActionContinue {
		return fmt.Errorf("end of message: %v", a)
	}
	return nil
}
