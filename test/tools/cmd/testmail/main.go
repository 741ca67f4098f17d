// Command testmail runs the test tools by hand: a sink, an injector, and the checker
// that compares what the two have written.
//
//	testmail sink -listen 127.0.0.1:2525 -record sink.log -wait 3000
//	testmail inject -addr unix:/run/mlist/lmtp.sock -list dev@lists.test -messages 100 -accepted ids.log
//	testmail check -accepted ids.log -members members.txt -record sink.log
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	commands := map[string]func(context.Context, []string) error{"sink": runSink, "inject": runInject, "check": runCheck}
	err := errors.New("want sink, inject or check")
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		err = commands[os.Args[1]](ctx, os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testmail:", err)
		os.Exit(1)
	}
}

// runSink serves until so many recipients were taken, or a signal, and prints its numbers.
func runSink(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("sink", flag.ExitOnError)
	listen := f.String("listen", "127.0.0.1:2525", "HOST:PORT or unix:PATH")
	record := f.String("record", "", "append each transaction to this file")
	wait := f.Int64("wait", 0, "end after so many recipients; 0 is at a signal")
	var o sink.Options
	f.Uint64Var(&o.Faults.Seed, "seed", 1, "of the faults, which are chances from 0 to 1")
	f.Float64Var(&o.Faults.Greeting421, "greeting421", 0, "refuse a connection")
	f.Float64Var(&o.Faults.Mail4xx, "mail4xx", 0, "451 to MAIL")
	f.Float64Var(&o.Faults.Rcpt4xx, "rcpt4xx", 0, "451 to RCPT")
	f.Float64Var(&o.Faults.Data4xx, "data4xx", 0, "451 after the message")
	f.Float64Var(&o.Faults.DropAtRcpt, "drop-at-rcpt", 0, "cut the connection at RCPT")
	f.Float64Var(&o.Faults.DropInData, "drop-in-data", 0, "cut it in the message")
	f.Float64Var(&o.Faults.DropBeforeEnd, "drop-before-end", 0, "cut it before the final reply")
	f.DurationVar(&o.Faults.Delay, "delay", 0, "before each batch of replies")
	_ = f.Parse(args)
	if *record != "" {
		o.Record, o.Path = sink.File, *record
	}
	s, err := sink.Listen(*listen, o)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "listening on", s.Addr())
	if *wait > 0 {
		err = s.Wait(ctx, *wait)
	} else {
		<-ctx.Done()
	}
	return errors.Join(err, s.Close(), json.NewEncoder(os.Stdout).Encode(s.Stats()))
}

// runInject posts, and appends each accepted Message-ID to a file before it counts.
func runInject(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("inject", flag.ExitOnError)
	var o inject.Options
	f.StringVar(&o.Addr, "addr", "unix:/run/mlist/lmtp.sock", "unix:PATH or HOST:PORT, speaking LMTP")
	lists := f.String("list", "", "list addresses, separated by commas")
	f.StringVar(&o.Sender, "sender", "author@net.test", "envelope sender and author")
	f.IntVar(&o.Messages, "messages", 1, "how many")
	f.IntVar(&o.Connections, "connections", 1, "at once")
	f.IntVar(&o.Size, "size", 2000, "octets of a message")
	f.StringVar(&o.Tag, "tag", fmt.Sprint(time.Now().Unix()), "in the Message-IDs, to tell runs apart")
	path := f.String("accepted", "", "append each accepted Message-ID and its list to this file")
	_ = f.Parse(args)
	o.Lists = strings.Split(*lists, ",")

	var mu sync.Mutex
	var latencies []time.Duration
	var failed error
	ids := os.Stdout
	if *path != "" {
		var err error
		if ids, err = os.OpenFile(*path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return err
		}
		defer ids.Close()
	}
	o.Accepted = func(id, list string, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := fmt.Fprintln(ids, id, list); err != nil && failed == nil {
			failed = err
		}
		latencies = append(latencies, took)
	}
	r, err := inject.Run(ctx, o)
	slices.Sort(latencies)
	if n := len(latencies); n > 0 {
		fmt.Fprintf(os.Stderr, "%d accepted in %s, %.0f/s, %d retries, p50 %s, p99 %s\n", r.Accepted, r.Took.Round(time.Millisecond),
			float64(r.Accepted)/r.Took.Seconds(), r.Retries, latencies[n/2], latencies[n*99/100])
	}
	return errors.Join(err, failed)
}

// runCheck compares; every list is taken to have the same members.
func runCheck(_ context.Context, args []string) error {
	f := flag.NewFlagSet("check", flag.ExitOnError)
	ids := f.String("accepted", "", "what inject has written")
	members := f.String("members", "", "a file of member addresses, one a line")
	record := f.String("record", "", "what sink has written")
	_ = f.Parse(args)
	due, err := readLines(*members)
	if err != nil {
		return err
	}
	posts, err := readLines(*ids)
	if err != nil {
		return err
	}
	var accepted []checker.Accepted
	for _, p := range posts {
		id, _, _ := strings.Cut(p, " ")
		accepted = append(accepted, checker.Accepted{MessageID: id, Recipients: due})
	}
	var taken []sink.Transaction
	for tx, err := range sink.Read(*record) {
		if err != nil {
			return err
		}
		taken = append(taken, tx)
	}
	report := checker.Compare(accepted, taken)
	fmt.Println(report)
	if !report.OK() {
		return errors.New("mail was lost or doubled")
	}
	return nil
}

func readLines(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []string
	s := bufio.NewScanner(file)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" {
			out = append(out, line)
		}
	}
	return out, s.Err()
}
