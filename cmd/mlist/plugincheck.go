package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/conformance"
	"github.com/mlist/mlist/sdk/message"
)

func (a *app) pluginCheck() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "check PATH",
		Short: "tell what a handler's program breaks",
		Long: `Drives a program, in whatever language it is written, through what happens to handlers: who could have changed its file
and whether plugin_sha256 pins another, the handshake, configurations with mistakes, strange and huge mail, calls that are cancelled or come several at once, draining, signals and kill -9. The
tables [plugin.STAGE] of the configuration hold. It takes some seconds. The exit status is 1 if something is broken.`,
		Example: "  mlist plugin check ./shout\n  mlist plugin check /usr/lib/mlist/plugins/standard --json",
		Args:    between(1, 1, "the path of one program"),
	}
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "for one call")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.load()
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		opt := conformance.Options{Timeout: timeout, Config: cfg.Plugin, Settings: defaultSettings(),
			Host: func(ctx context.Context, path string, stages []string) error {
				return a.hostOne(ctx, cfg, path, stages)
			}}
		if !a.json {
			opt.Done = func(trial string, found []conformance.Finding) { printTrial(w, trial, found) }
		}
		found, err := a.checkAll(cmd.Context(), cfg, args[0], opt)
		if err != nil {
			return err
		}
		broken := conformance.Broken(found)
		if a.json {
			if found == nil {
				found = []conformance.Finding{}
			}
			err = printJSON(w, map[string]any{"path": args[0], "ok": !broken, "findings": found})
		} else if !broken {
			_, err = fmt.Fprintf(w, "%s keeps the contract.\n", printable(args[0], false))
		}
		if broken && err == nil {
			return errTold
		}
		return err
	}
	return c
}

// checkAll checks the file first: what must not be started is not.
func (a *app) checkAll(ctx context.Context, cfg *config.Config, path string, opt conformance.Options) ([]conformance.Finding, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	var found []conformance.Finding
	advice, refused := checkFile(cfg, path)
	if refused != nil {
		found = append(found, conformance.Finding{Trial: "file", Breaks: true, Text: fmt.Sprintf("mlist refuses to start it: %v.", refused)})
	} else if advice != "" {
		found = append(found, conformance.Finding{Trial: "file", Text: advice})
	}
	if opt.Done != nil {
		opt.Done("file", found)
	}
	if refused != nil {
		return found, nil
	}
	more, err := conformance.Check(ctx, path, opt)
	return append(found, more...), err
}

func printTrial(w io.Writer, trial string, found []conformance.Finding) {
	word := "ok"
	if conformance.Broken(found) {
		word = "BROKEN"
	}
	fmt.Fprintf(w, "%-14s %s\n", trial, word)
	for _, f := range found {
		kind := "advice"
		if f.Breaks {
			kind = "broken"
		}
		if f.Stage != "" {
			kind += ", stage " + f.Stage
		}
		fmt.Fprintf(w, "    %s: %s\n", printable(kind, false), printable(f.Text, false))
	}
}

// hostOne runs one post through a program the way mlist does.
func (a *app) hostOne(ctx context.Context, c *config.Config, path string, stages []string) error {
	h, end, err := a.alone(ctx, c, path, stages, stages, slog.New(slog.DiscardHandler), people{"ann@example.org"})
	if err != nil {
		return oneLine(err)
	}
	p, done, err := samplePost(strings.NewReader("From: ann@example.org\r\nTo: dev@lists.example.org\r\nSubject: hello\r\n\r\nHello.\r\n"))
	if err == nil {
		p.List = sdk.List{Address: "dev@lists.example.org", Settings: defaultSettings()}
		p.Envelope = sdk.Envelope{Sender: "ann@example.org", Recipient: p.List.Address}
		_, err = h.Run(ctx, p)
		done()
	}
	return closing(err, end)
}

// oneLine makes a sentence's part of several errors.
func oneLine(err error) error {
	return fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// samplePost puts a message into a file, where a plugin can read its body.
func samplePost(r io.Reader) (*host.Post, func(), error) {
	dir, err := os.MkdirTemp("", "post-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) } // of a temporary directory
	f, err := os.OpenFile(filepath.Join(dir, "message"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		remove()
		return nil, nil, err
	}
	done := func() {
		_ = f.Close() // written and read
		remove()
	}
	size, err := io.Copy(f, r)
	if err == nil {
		var block []byte
		var offset int64
		if block, offset, err = message.Split(f, size); err == nil {
			return &host.Post{Entry: "try", Number: 1, Header: message.ParseHeader(block), Body: message.NewBody(f, offset, size-offset),
				File: f.Name(), Offset: offset, Length: size - offset, Notes: map[string]string{}}, done, nil
		}
	}
	done()
	return nil, nil, fmt.Errorf("the message: %w", err)
}
