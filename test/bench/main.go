// Command bench measures what mlist promises, each figure beside what the same machine
// can do at best, measured in the same run. `make bench` runs it; -json is for programs.
//
// A ratio is worth more than a figure: figures differ between machines, and on one
// machine between hours.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/sink"
)

// part measures one thing and adds its figures.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

var parts = []part{
	{"import", (*bench).imports},
	{"lmtp", (*bench).lmtp},
	{"idle", (*bench).idle},
	{"pipeline", (*bench).pipeline},
	{"sustained", (*bench).sustained},
	{"milter", (*bench).milter},
	{"deliver", (*bench).deliver},
	{"outbound", (*bench).outbound},
	{"copies", (*bench).copies},
	{"first", (*bench).first},
	{"fair", (*bench).fair},
	{"memory", (*bench).memory},
	{"postfix", (*bench).postfix},
	{"postgres", (*bench).postgres},
	{"scaling", (*bench).scaling},
}

// figure is one result.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Beside string  `json:"beside,omitempty"` // the machine's own limit, in words
	Limit  float64 `json:"limit,omitempty"`  // and in the same unit
	Target float64 `json:"target,omitempty"` // that it promises to stay at or below; 0 is none
	Least  float64 `json:"least,omitempty"`  // that it promises to reach; 0 is none
	Share  float64 `json:"share,omitempty"`  // of Limit, that it promises to reach; 0 is none
}

// bench is a fresh installation for each part, with a sink for an MTA.
type bench struct {
	dist    string
	dir     string
	out     *sink.Server
	mlist   *harness.Mlist
	figures []figure
	growth  []point  // deliveries/s by members
	remove  []func() // the installations, when all is over: see diskRate
}

var (
	asJSON = flag.Bool("json", false, "print one JSON object, for programs")
	only   = flag.String("only", "", "parts to run, separated by commas (import, lmtp, idle, pipeline, sustained, milter, deliver, outbound, copies, first, fair, memory, postfix, postgres, scaling)")
	chart  = flag.String("chart", "", "write a chart (SVG) of deliveries/s by members to this file; needs the part deliver")
	large  = flag.Int("large", 1_000_000, "members of the largest list")
)

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	dist, err := harness.Build(ctx)
	if err != nil {
		fail("build", err)
	}
	b := &bench{dist: dist}
	for _, p := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", p.name)
		if err := b.alone(ctx, p); err != nil {
			b.cleanUp()
			fail(p.name, err)
		}
	}
	b.cleanUp()
	b.print()
	if *chart != "" {
		if err := os.WriteFile(*chart, drawGrowth(b.growth), 0o644); err != nil {
			fail("chart", err)
		}
	}
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", what, err)
	os.Exit(1)
}

// alone runs a part in an installation of its own.
func (b *bench) alone(ctx context.Context, p part) error {
	dir, remove, err := harness.TempDir("bench")
	if err != nil {
		return err
	}
	b.remove = append(b.remove, remove)
	b.dir = dir
	if b.out, err = sink.Listen("127.0.0.1:0", sink.Options{}); err != nil {
		return err
	}
	defer b.out.Close()
	b.mlist, err = harness.Install(dir, b.dist, harness.Options{MTA: b.out.Addr().String()})
	if err != nil {
		return err
	}
	defer b.mlist.Kill()
	return p.run(b, ctx)
}

func (b *bench) cleanUp() {
	for _, remove := range b.remove {
		remove()
	}
}

func (b *bench) add(f figure) { b.figures = append(b.figures, f) }

func (b *bench) print() {
	if *asJSON {
		json.NewEncoder(os.Stdout).Encode(map[string]any{"figures": b.figures})
		return
	}
	for _, f := range b.figures {
		fmt.Printf("%-58s %12s %-13s", f.Name, number(f.Value), f.Unit)
		if f.Beside != "" {
			fmt.Printf(" %s: %s (%.0f %%)", f.Beside, number(f.Limit), 100*f.Value/f.Limit)
		}
		fmt.Println(f.promise())
	}
}

// promise says what the figure is to be, and whether it is.
func (f figure) promise() string {
	kept, what := true, ""
	switch {
	case f.Target > 0:
		kept, what = f.Value <= f.Target, "at most "+number(f.Target)
	case f.Least > 0:
		kept, what = f.Value >= f.Least, "at least "+number(f.Least)
	case f.Share > 0:
		kept, what = f.Value >= f.Share*f.Limit, fmt.Sprintf("at least %.0f %%", 100*f.Share)
	default:
		return ""
	}
	if kept {
		return " target: " + what
	}
	return " MISSES its target: " + what
}

func number(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// list creates a list with so many members, who may all be posted to by anybody.
func (b *bench) list(ctx context.Context, name string, members int) (took time.Duration, err error) {
	if _, err := b.mlist.Command(ctx, nil, "list", "create", name, "default_nonmember_action=accept", "max_message_size=0"); err != nil {
		return 0, err
	}
	file := b.dir + "/members.txt"
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	var line []byte
	for i := range members {
		line = fmt.Appendf(line[:0], "member%07d@net%02d.test\n", i, i%20)
		if _, err := f.Write(line); err != nil {
			return 0, err
		}
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	start := time.Now()
	_, err = b.mlist.Command(ctx, nil, "member", "add", name, "--file", file)
	return time.Since(start), err
}

// median sorts and returns the middle.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
