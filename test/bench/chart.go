package main

import (
	"bytes"
	"fmt"
	"math"
)

// point is how fast posts go out to a list of so many members.
type point struct {
	members int
	rate    float64 // deliveries/s
}

// peers are what others did on a machine of the same kind, from 1,000 to 100,000 members.
var peers = []struct {
	name   string
	colour string
	points []point
}{
	{"mlmmj, groups of 100", "#b35900", []point{{100, 30473}, {1000, 67541}, {10_000, 20747}, {100_000, 4485}}},
	{"Postfix alias", "#666666", []point{{100, 8629}, {1000, 8759}, {10_000, 11066}, {100_000, 9220}}},
	{"Mailman 3", "#990000", []point{{100, 1047}, {1000, 1293}, {10_000, 1280}, {100_000, 1203}}},
}

// drawGrowth draws deliveries/s over members, both in powers of ten.
func drawGrowth(own []point) []byte {
	const width, height, left, top, right, bottom = 720, 420, 80, 30, 170, 50
	x := func(members int) float64 {
		return left + (math.Log10(float64(members))-2)/4*(width-left-right)
	}
	y := func(rate float64) float64 {
		return height - bottom - (math.Log10(max(rate, 100))-2)/4*(height-top-bottom)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	for e := 2; e <= 6; e++ {
		n := int(math.Pow10(e))
		fmt.Fprintf(&b, `<line x1="%.0f" y1="%d" x2="%.0f" y2="%d" stroke="#ddd"/><text x="%.0f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(n), top, x(n), height-bottom, x(n), height-bottom+18, group(n))
		fmt.Fprintf(&b, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#ddd"/><text x="%d" y="%.0f" text-anchor="end">%s</text>`+"\n",
			left, y(float64(n)), width-right, y(float64(n)), left-8, y(float64(n))+4, group(n))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">members of the list</text><text x="%d" y="18">deliveries a second, one post, end to end</text>`+"\n",
		(width-right+left)/2, height-10, left)
	line := func(name, colour string, points []point) {
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, colour)
		for _, p := range points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p.members), y(p.rate))
		}
		last := points[len(points)-1]
		fmt.Fprintf(&b, `"/><text x="%.0f" y="%.0f" fill="%s">%s</text>`+"\n", x(last.members)+8, y(last.rate)+4, colour, name)
	}
	for _, p := range peers {
		line(p.name, p.colour, p.points)
	}
	if len(own) > 0 {
		line("mlist", "#0055aa", own)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
