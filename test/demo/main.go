// Command demo shows mlist's main job on real mail: it makes a whole installation in a
// temporary directory, creates a list with members, sends a message through it, and
// tells where the message went, how long each step took and what each member got.
//
// Mail goes through a private Postfix where Postfix is installed and we are root, else
// through a small MTA of the demonstration's own. `make demo` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/sink"
)

const (
	listAddr = "dev@lists.test"
	author   = "ann@net.test"
	stranger = "eve@else.test"
)

var members = []string{author, "bob@net.test", "Cy Doe <cy@other.test>"}

func main() {
	keep := flag.Bool("keep", false, "leave everything running until Ctrl-C")
	noPostfix := flag.Bool("no-postfix", false, "use the built-in MTA even where Postfix is installed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *keep, *noPostfix); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// mta is what hands mail to mlist and takes it back: Postfix, or a stand-in.
type mta struct {
	name     string
	smtp     string // where mail comes in
	handBack string // where mlist hands over
	stop     func() error
}

// demo is the demonstration's parts.
type demo struct {
	mlist *harness.Mlist
	mta   mta
	boxes *sink.Server // the members' mail servers
}

func run(ctx context.Context, keep, noPostfix bool) error {
	title("1. A whole installation in a temporary directory")
	dist, err := harness.Build(ctx)
	if err != nil {
		return err
	}
	dir, remove, err := harness.TempDir("demo")
	if err != nil {
		return err
	}
	defer remove()
	d := &demo{}
	if d.boxes, err = sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true}); err != nil {
		return err
	}
	defer d.boxes.Close()
	lmtp := filepath.Join(dir, "mlist", "run", "lmtp.sock")
	if d.mta, err = startMTA(ctx, dir, lmtp, d.boxes.Addr().String(), noPostfix); err != nil {
		return err
	}
	defer d.mta.stop()
	if d.mlist, err = harness.Install(filepath.Join(dir, "mlist"), dist, harness.Options{
		MTA: d.mta.handBack,
		Set: map[string]string{"log.level": `"debug"`}, // tells of each chunk when it is handed back
	}); err != nil {
		return err
	}
	started := time.Now()
	if err := d.mlist.Start(ctx); err != nil {
		return err
	}
	defer d.mlist.Stop()
	fmt.Printf("   mail server:   %s\n", d.mta.name)
	fmt.Printf("   mlist:         %s serve (ready after %s)\n", d.mlist.Bin, ms(time.Since(started)))
	fmt.Printf("   configuration: %s\n", d.mlist.Config)

	if err := d.createList(ctx); err != nil {
		return err
	}
	if err := d.ask(); err != nil {
		return err
	}
	if err := d.memberPosts(ctx); err != nil {
		return err
	}
	if err := d.strangerPosts(ctx); err != nil {
		return err
	}
	if !keep {
		fmt.Println("\nAll of it is gone again. `make demo KEEP=1` leaves it running for you to talk to.")
		return nil
	}
	d.invite()
	<-ctx.Done()
	fmt.Println("\nStopping.")
	return nil
}

// startMTA starts a private Postfix, or the built-in MTA.
func startMTA(ctx context.Context, dir, lmtp, boxes string, noPostfix bool) (mta, error) {
	if err := harness.FindPostfix(); err != nil || noPostfix {
		why := "as asked for"
		if err != nil {
			why = err.Error()
		}
		l, err := startLoopback(lmtp, boxes)
		if err != nil {
			return mta{}, err
		}
		return mta{"built-in loopback MTA (" + why + ")", l.addr, boxes, l.stop}, nil
	}
	p, err := harness.StartPostfix(ctx, filepath.Join(dir, "postfix"), harness.PostfixOptions{Domain: "lists.test", LMTP: lmtp, Relay: boxes})
	if err != nil {
		return mta{}, err
	}
	return mta{"a private Postfix at " + p.SMTP + ", hand-back port " + p.HandBack, p.SMTP, p.HandBack, p.Stop}, nil
}

// typed is how a person would type args in a shell.
func typed(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsAny(a, " <>'\"$&;|*()") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// command shows and runs an administrator's command.
func (d *demo) command(ctx context.Context, stdin string, args ...string) (string, error) {
	fmt.Printf("   $ mlist %s\n", typed(args))
	var in *strings.Reader
	if stdin != "" {
		in = strings.NewReader(stdin)
	}
	var text string
	var err error
	if in == nil {
		text, err = d.mlist.Command(ctx, nil, args...)
	} else {
		text, err = d.mlist.Command(ctx, in, args...)
	}
	for line := range strings.Lines(text) {
		fmt.Printf("     %s", line)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		fmt.Println()
	}
	return text, err
}

func (d *demo) createList(ctx context.Context) error {
	title("2. A list with three members")
	if _, err := d.command(ctx, "", "list", "create", listAddr, "--owner", "boss@net.test", "description=How we build it"); err != nil {
		return err
	}
	_, err := d.command(ctx, "", append([]string{"member", "add", listAddr}, members...)...)
	return err
}

// invite tells how to go on by hand.
func (d *demo) invite() {
	title("It runs until Ctrl-C. Talk to it:")
	fmt.Printf(`   alias mlist='%s --config %s'
   mlist list show %s
   mlist queue ls
   send mail by SMTP to %s; what members get is discarded after it is counted
   ls %s/*

`, d.mlist.Bin, d.mlist.Config, listAddr, d.mta.smtp, d.mlist.Spool)
}

func title(text string) { fmt.Printf("\n%s\n", text) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
