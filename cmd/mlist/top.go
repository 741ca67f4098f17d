package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/metrics"
	"github.com/mlist/mlist/internal/spool"
)

const (
	topEvery = 2 * time.Second
	topLeast = 200 * time.Millisecond // the daemons have better things to do
)

func (a *app) topCommand() *cobra.Command {
	var every time.Duration
	var once bool
	c := &cobra.Command{
		Use:   "top",
		Short: "show how mlist fares, again and again",
		Long: `Shows what ` + "`mlist status`" + ` prints, and how much was done each second since the last time, until q or Ctrl-C. Into a file or a
pipe it writes one picture after the other, and with --json one object a line. What waits in long queues is counted less often.`,
		Example: "  mlist top\n  mlist top --interval 10s\n  mlist top --once\n  mlist top --json | jq -c .per_second",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < topLeast {
				return usageError{fmt.Errorf("--interval %v: want %v or more", every, topLeast)}
			}
			c, wrong := a.salvage()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return withSpoolOf(ctx, c, func(sp spool.Spool) error {
				t := &top{c: c, wrong: wrong, census: &census{spool: sp, life: ctx, keys: true}, every: every, once: once, json: a.json, in: a.in, out: cmd.OutOrStdout()}
				defer t.census.wait()
				defer stop() // which ends a count that is under way
				return t.run(ctx)
			})
		},
	}
	c.Flags().DurationVar(&every, "interval", topEvery, "how often")
	c.Flags().BoolVar(&once, "once", false, "show it once")
	return c
}

// topJSON is a line of `mlist top --json`.
type topJSON struct {
	Time      time.Time          `json:"time"`
	PerSecond map[string]float64 `json:"per_second"` // since the line before; in the first one, in the last minute
	Status    *statusJSON        `json:"status"`
}

// top shows one picture after the other.
type top struct {
	c      *config.Config
	wrong  error // with its file
	census *census
	every  time.Duration
	once   bool
	json   bool
	in     io.Reader
	out    io.Writer

	last   metrics.Totals
	lastAt time.Time
	before int // how many processes there were
}

func (t *top) run(ctx context.Context) error {
	screen, err := openScreen(t)
	if err != nil {
		return err
	}
	defer screen.close()
	for {
		picture, err := t.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.show(screen, picture); err != nil {
			if errors.Is(err, syscall.EPIPE) {
				return nil // who reads has seen enough
			}
			return err
		}
		if t.once || !screen.wait(ctx, t.every) {
			return nil
		}
	}
}

// look finds out how mlist fares now.
func (t *top) look(ctx context.Context) (*topJSON, error) {
	st, err := gatherLive(ctx, t.c)
	if err != nil {
		return nil, err
	}
	st.misconfigured(t.wrong)
	counted := t.census.look()
	if err := counted.err; err != nil && counted.at.IsZero() {
		return nil, err
	}
	st.Queues = counted.summaries
	if st.Owners, st.Unserved, err = ownersWith(ctx, t.census.spool, counted.waiting); err != nil {
		return nil, err
	}
	st.judge()
	now := time.Now()
	p := &topJSON{Time: now, PerSecond: perSecond(st.Minute, min(time.Minute, st.youngest(now))), Status: st}
	if done := st.Totals.Less(t.last); !t.lastAt.IsZero() && len(st.Processes) == t.before && done.Taken >= 0 && done.Delivered >= 0 {
		p.PerSecond = perSecond(done, now.Sub(t.lastAt)) // unless a process has come, gone, or begun anew
	}
	t.last, t.lastAt, t.before = st.Totals, now, len(st.Processes)
	return p, nil
}

// youngest is for how long the youngest process has run.
func (st *statusJSON) youngest(now time.Time) time.Duration {
	age := time.Minute
	for _, p := range st.Processes {
		age = min(age, now.Sub(p.Started))
	}
	return age
}

func perSecond(done metrics.Totals, in time.Duration) map[string]float64 {
	s := max(in.Seconds(), 1e-3)
	rate := func(n int64) float64 { return float64(int64(float64(n)/s*10+0.5)) / 10 }
	return map[string]float64{
		"taken": rate(done.Taken), "refused": rate(done.Refused), "prepared": rate(done.Prepared), "held": rate(done.Held),
		"delivered": rate(done.Delivered), "deferred": rate(done.Deferred), "bounced": rate(done.Bounced),
	}
}

func (t *top) show(screen *screen, p *topJSON) error {
	if t.json {
		line, err := json.Marshal(p)
		if err != nil {
			return err
		}
		return screen.write(string(line) + "\n")
	}
	return screen.picture(p.lines())
}

// lines are the picture, the most important first: what does not fit on a screen is cut.
func (p *topJSON) lines() []string {
	var b strings.Builder
	st := p.Status
	fmt.Fprintf(&b, "mlist top  %s\n", moment(p.Time))
	st.printProcesses(&b, p.Time)
	for _, problem := range st.Problems {
		fmt.Fprintf(&b, "PROBLEM: %s\n", problem)
	}
	st.printQueues(&b, p.Time)
	printDoneHeadings(&b)
	rate := func(name string) string { return fmt.Sprintf("%.1f", p.PerSecond[name]) }
	printDone(&b, "per second", rate("taken"), rate("refused"), rate("prepared"), rate("held"), rate("delivered"), rate("deferred"), rate("bounced"))
	printTotals(&b, "last minute", st.Minute)
	printTotals(&b, "since start", st.Totals)
	st.printParts(&b)
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// screen is where the pictures are shown: a terminal, or anything that is written to.
type screen struct {
	out   io.Writer
	tty   *os.File    // the terminal that is written to; nil: there is none
	keys  *os.File    // and that which keys come from
	saved *term.State // of keys
	first bool
}

// What a terminal is told: no cursor, and a screen of its own, which leaves the other as it was.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

func openScreen(t *top) (*screen, error) {
	s := &screen{out: t.out, first: true}
	out, ok := t.out.(*os.File)
	if !ok || t.once || t.json || !isTerminal(out) {
		return s, nil
	}
	s.tty = out
	if keys, ok := t.in.(*os.File); ok && isTerminal(keys) {
		var err error
		if s.saved, err = term.MakeRaw(int(keys.Fd())); err != nil {
			return nil, fmt.Errorf("listen to the keyboard: %w", err)
		}
		s.keys = keys
	}
	return s, s.write(enterScreen)
}

// close leaves the terminal as it was.
func (s *screen) close() {
	if s.tty != nil {
		_ = s.write(leaveScreen) // it is over in any case
	}
	if s.saved != nil {
		_ = term.Restore(int(s.keys.Fd()), s.saved)
	}
}

func (s *screen) write(text string) error {
	_, err := io.WriteString(s.out, text)
	if f, ok := s.out.(interface{ Flush() error }); err == nil && ok {
		err = f.Flush() // a pipe's reader sees each at once
	}
	return err
}

// picture shows lines: as many as fit on a terminal.
func (s *screen) picture(lines []string) error {
	if s.tty == nil {
		text := strings.Join(lines, "\n") + "\n"
		if !s.first {
			text = "\n" + text
		}
		s.first = false
		return s.write(text)
	}
	width, height, err := term.GetSize(int(s.tty.Fd()))
	if err != nil || width < 1 || height < 1 {
		width, height = 80, 24
	}
	return s.write(fit(lines, width, height))
}

// fit is what shows lines on a terminal of that size, over what was there before.
func fit(lines []string, width, height int) string {
	var b strings.Builder
	b.WriteString(toTop)
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		for n := 0; n < width && line != ""; n++ {
			_, size := utf8.DecodeRuneInString(line)
			b.WriteString(line[:size])
			line = line[size:]
		}
		b.WriteString(clearLine)
	}
	b.WriteString(clearBelow)
	return b.String()
}

// slice is how long it takes at most to notice a signal.
const slice = 100 * time.Millisecond

// wait waits for the next picture; it is false if there is to be none: q, Ctrl-C, Ctrl-D, or
// the end of ctx. Any other key shows it at once.
func (s *screen) wait(ctx context.Context, long time.Duration) bool {
	if s.keys == nil {
		next := time.NewTimer(long)
		defer next.Stop()
		select {
		case <-next.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for end := time.Now().Add(long); ctx.Err() == nil; {
		left := time.Until(end)
		if left <= 0 {
			return true
		}
		fds := []unix.PollFd{{Fd: int32(s.keys.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(min(left, slice).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
		if n > 0 {
			return s.key()
		}
	}
	return false
}

// key reads what was pressed, and tells whether to go on.
func (s *screen) key() bool {
	var b [64]byte
	n, err := s.keys.Read(b[:])
	return err == nil && n > 0 && !strings.ContainsAny(string(b[:n]), "qQ\x03\x04")
}
