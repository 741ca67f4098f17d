package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

const (
	width, height = 900, 190 // of one panel
	left, right   = 70, 20
	top, bottom   = 34, 26
)

// draw draws a day, one panel below the other.
func draw(auto, static *record) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, 5*height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, 5*height)
	shares(&b, 0, auto)
	n := len(auto.waiting)
	plot(&b, 1, "recipients that wait (millions)", n, series{"auto", "#0055aa", scaled(auto.waiting, 1e-6)}, series{"equal ranges", "#b35900", scaled(static.waiting, 1e-6)})
	plot(&b, 2, "the slowest post to a few (seconds, log10)", n, series{"auto", "#0055aa", logs(auto)}, series{"equal ranges", "#b35900", logs(static)})
	plot(&b, 3, "moved in five minutes (percent of the space)", n, series{"", "#0055aa", scaled(auto.moved, 1/655.36)})
	off := slices.Clone(auto.off)
	for i := range off {
		off[i] *= 100
	}
	plot(&b, 4, "how far the worst share is off what its daemon can drain (percent)", n, series{"", "#0055aa", off})
	b.WriteString("</svg>\n")
	return b.Bytes()
}

type series struct {
	name, colour string
	values       []float64
}

func scaled(all []int, by float64) []float64 {
	out := make([]float64, len(all))
	for i, v := range all {
		out[i] = float64(v) * by
	}
	return out
}

func logs(r *record) []float64 {
	out := make([]float64, len(r.worst))
	for i, v := range r.worst {
		out[i] = math.Log10(max(1, v.Seconds()))
	}
	return out
}

func x(i, n int) float64 { return left + float64(i)/float64(max(1, n-1))*(width-left-right) }

// frame draws what all panels have.
func frame(b *bytes.Buffer, panel int, title string) (y0 int) {
	y0 = panel * height
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", left, y0+20, title)
	for h := 0; h <= 24; h += 4 {
		fmt.Fprintf(b, `<text x="%.0f" y="%d" text-anchor="middle" fill="#666">%d h</text>`+"\n", x(h, 25), y0+height-8, h)
	}
	return y0
}

// plot draws lines over one another.
func plot(b *bytes.Buffer, panel int, title string, n int, all ...series) {
	y0 := frame(b, panel, title)
	most := 0.0
	for _, s := range all {
		most = max(most, slices.Max(append(s.values, 1e-9)))
	}
	y := func(v float64) float64 { return float64(y0+height-bottom) - v/most*(height-top-bottom) }
	for _, v := range []float64{0, most / 2, most} {
		fmt.Fprintf(b, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#ddd"/><text x="%d" y="%.0f" text-anchor="end" fill="#666">%.3g</text>`+"\n",
			left, y(v), width-right, y(v), left-6, y(v)+4, v)
	}
	for i, s := range all {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" points="`, s.colour)
		for j, v := range s.values {
			fmt.Fprintf(b, "%.1f,%.1f ", x(j, n), y(v))
		}
		fmt.Fprintf(b, `"/><text x="%d" y="%d" fill="%s" text-anchor="end">%s</text>`+"\n", width-right-110*i, y0+20, s.colour, s.name)
	}
}

// shares draws the parts of the space that daemons have, one on top of the other. White is
// nobody's.
func shares(b *bytes.Buffer, panel int, r *record) {
	y0 := frame(b, panel, "shares of the hash space, one band for each daemon")
	var all [][]float64
	for i := 0; i < len(r.shares); i += 4 { // bands need no more, and have two edges each
		all = append(all, r.shares[i])
	}
	n := len(all)
	y := func(v float64) float64 { return float64(y0+height-bottom) - v*(height-top-bottom) }
	below := make([]float64, n)
	for d := range r.w.daemons {
		above := slices.Clone(below)
		for i := range above {
			above[i] += all[i][d]
		}
		fmt.Fprintf(b, `<polygon fill="hsl(%d,45%%,%d%%)" points="`, 360*d*7/len(r.w.daemons)%360, 55+20*(d%2))
		for i := range n {
			fmt.Fprintf(b, "%.0f,%.1f ", x(i, n), y(above[i]))
		}
		for i := n - 1; i >= 0; i-- {
			fmt.Fprintf(b, "%.0f,%.1f ", x(i, n), y(below[i]))
		}
		b.WriteString(`"/>` + "\n")
		below = above
	}
}
