package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress draws a bar on a terminal for what takes more than two seconds. The zero
// value draws nothing.
type progress struct {
	w     io.Writer
	start time.Time
	last  time.Time
	drawn bool
}

const (
	progressAfter = 2 * time.Second
	progressEvery = 200 * time.Millisecond
	barWidth      = 30
)

// newProgress draws on w if that is a terminal.
func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{w: w, start: time.Now()}
}

// show draws how far the work is: items done, and which part of the whole if that is
// known (else less than 0).
func (p *progress) show(items int64, part float64) {
	now := time.Now()
	if p.w == nil || now.Sub(p.start) < progressAfter || now.Sub(p.last) < progressEvery {
		return
	}
	p.last, p.drawn = now, true
	fmt.Fprint(p.w, "\r"+bar(items, part, now.Sub(p.start))+"\x1b[K")
}

// bar is one line, less wide than a terminal.
func bar(items int64, part float64, took time.Duration) string {
	s := fmt.Sprintf("%13s  %10s/s", thousands(items), thousands(int64(float64(items)/took.Seconds())))
	if part < 0 {
		return s
	}
	part = min(part, 1)
	full := int(part * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%% %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), part*100, s)
}

// clear takes the bar away.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// Write lets what is written go above the bar.
func (p *progress) writer(w io.Writer) io.Writer { return aboveBar{p, w} }

type aboveBar struct {
	*progress
	to io.Writer
}

func (a aboveBar) Write(b []byte) (int, error) {
	a.clear()
	return a.to.Write(b)
}
