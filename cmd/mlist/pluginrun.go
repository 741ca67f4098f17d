package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/conformance"
	"github.com/mlist/mlist/sdk/message"
)

// trial is what `plugin run` tries a stage with.
type trial struct {
	stages, settings, members []string
	list, from, output        string
	number                    int64
	approved, verbose, atSMTP bool
}

func (a *app) pluginRun() *cobra.Command {
	var t trial
	c := &cobra.Command{
		Use:   "run PATH|NAME --stage STAGE < MESSAGE",
		Short: "run a stage on a message, and show what it does",
		Long: `Runs a stage of one plugin on the message on standard input, the way mlist does, and prints the verdict, the edits and
the message as it would go on. Nothing is stored or sent. The tables [plugin.STAGE] of the configuration hold.`,
		Example: `  mlist plugin run ./shout --stage shout < message
  mlist plugin run standard --stage subject --list-setting "subject_prefix=[Dev] " --list dev@lists.example.org < message`,
		Args: between(1, 1, "one plugin: its path, or its name in the plugin directory"),
	}
	f := c.Flags()
	f.StringArrayVar(&t.stages, "stage", nil, "the stage; may be repeated; not needed if the plugin has only one")
	f.StringArrayVar(&t.settings, "list-setting", nil, "a setting of the list, as name=value; may be repeated")
	f.StringVar(&t.list, "list", "dev@lists.example.org", "the list's address")
	f.StringVar(&t.from, "from", "", "the envelope sender (the address in From)")
	f.StringArrayVar(&t.members, "member", nil, "an address that is a member of the list; may be repeated")
	f.Int64Var(&t.number, "number", 1, "the post's number on the list")
	f.BoolVar(&t.approved, "approved", false, "as if a moderator had let it through")
	f.BoolVar(&t.atSMTP, "smtp", false, "as if the sender's SMTP session waited: only stages that judge then, and no edits")
	f.StringVar(&t.output, "output", "", "write the message to this file, which must not exist")
	f.BoolVar(&t.verbose, "verbose", false, "show what the plugin logs")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.runPlugin(cmd, args[0], &t) }
	return c
}

func (a *app) runPlugin(cmd *cobra.Command, arg string, t *trial) error {
	settings, err := t.listSettings()
	if err != nil {
		return usageError{err}
	}
	if isTerminal(a.in) {
		return withHint(errors.New("the message is wanted on standard input"), "mlist plugin run %s --stage STAGE < MESSAGE", arg)
	}
	c, err := a.load()
	if err != nil {
		return err
	}
	path, err := findPlugin(cmd.Context(), c, arg)
	if err != nil {
		return err
	}
	stages, offers, err := t.choose(cmd.Context(), path)
	if err != nil {
		return err
	}
	level := slog.LevelError
	if t.verbose {
		level = slog.LevelDebug
	}
	h, end, err := a.alone(cmd.Context(), c, path, stages, offers, slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})), people(t.members))
	if err != nil {
		return err
	}
	p, done, err := samplePost(a.in)
	if err == nil {
		defer done()
		t.complete(p, settings)
		err = a.showRun(cmd, h, p, t)
	}
	return closing(err, end)
}

func defaultSettings() map[string]string { return handed(list.Defaults()) }

// handed are settings as handlers get them, with the built-in texts.
func handed(s list.Settings) map[string]string {
	return (*templates.Set)(nil).Settings(&list.List{Settings: s}, "")
}

func (t *trial) listSettings() (map[string]string, error) {
	s := list.Defaults()
	for _, arg := range t.settings {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("--list-setting %q: want name=value", arg)
		}
		if err := s.Set(name, value); err != nil {
			return nil, fmt.Errorf("--list-setting %w", err)
		}
	}
	return handed(s), nil
}

// choose returns which stages to run, and all that the program offers.
func (t *trial) choose(ctx context.Context, path string) (stages, offers []string, err error) {
	d, err := conformance.Describe(ctx, path, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range d.Stages {
		offers = append(offers, s.Name)
	}
	if len(t.stages) > 0 {
		return t.stages, offers, nil
	}
	if len(offers) != 1 {
		return nil, nil, usageError{fmt.Errorf("want --stage: %s has %s", d.Name, strings.Join(offers, ", "))}
	}
	return offers, offers, nil
}

// complete fills in the post what is not in the message.
func (t *trial) complete(p *host.Post, settings map[string]string) {
	var author string
	for _, m := range message.ParseMailboxes(p.Header.Get("From")) {
		author = m.Address
		break
	}
	from := t.from
	if from == "" {
		from = author
	}
	p.Number, p.Approved, p.List = t.number, t.approved, sdk.List{Address: t.list, Settings: settings}
	p.Envelope = sdk.Envelope{Sender: from, Recipient: t.list, Received: time.Now()}
	for _, s := range []sdk.Sender{{Address: author, Source: "from"}, {Address: from, Source: "envelope"}} {
		for _, m := range t.members {
			if strings.EqualFold(m, s.Address) {
				s.Memberships = []sdk.Membership{{Role: "member", Mode: "regular", Status: "enabled"}}
			}
		}
		if s.Address != "" {
			p.Senders = append(p.Senders, s)
		}
	}
}

func (a *app) showRun(cmd *cobra.Command, h *host.Host, p *host.Post, t *trial) error {
	ask := h.Run
	if t.atSMTP {
		ask = h.Consult
	}
	res, err := ask(cmd.Context(), p)
	if err == nil && len(res.Stages) == 0 {
		err = errors.New("no stage of it judges at SMTP time")
	}
	if err != nil {
		return err
	}
	if t.output != "" {
		if err := writeMessage(t.output, p); err != nil {
			return err
		}
	}
	w := cmd.OutOrStdout()
	if a.json {
		return printJSON(w, runOf(p, res))
	}
	printRun(w, p, res)
	if t.output == "" {
		return printMessage(w, p)
	}
	return nil
}

// runJSON is what a run made of a message.
type runJSON struct {
	Verdict    sdk.Kind          `json:"verdict"`
	Stage      string            `json:"stage,omitempty"` // that decided, if it was not accepted
	Code       string            `json:"code,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	Stages     []host.StageTime  `json:"stages"`
	Header     []string          `json:"header"` // edits
	Body       []string          `json:"body"`
	Recipients []string          `json:"recipients"`
	Asks       []string          `json:"asks"` // for state, new messages and counts
	Notes      map[string]string `json:"notes"`
	Fields     string            `json:"message_header"` // as it goes on
}

func runOf(p *host.Post, res host.Result) runJSON {
	return runJSON{Verdict: res.Verdict.Kind, Stage: res.Stage, Code: res.Verdict.Code, Reason: res.Verdict.Reason, Stages: res.Stages,
		Header: headerEdits(p), Body: bodyEdits(p), Recipients: ruleWords(p), Asks: askWords(p), Notes: p.Notes, Fields: string(p.Header.Bytes())}
}

func printRun(w io.Writer, p *host.Post, res host.Result) {
	verdict := string(res.Verdict.Kind)
	if res.Verdict.Code != "" {
		verdict += fmt.Sprintf(" (%s): %s", res.Verdict.Code, res.Verdict.Reason)
	}
	fmt.Fprintf(w, "verdict     %s\n", printable(verdict, false))
	for _, s := range res.Stages {
		fmt.Fprintf(w, "stage       %s: %s in %s\n", s.Stage, s.Verdict, s.Took.Round(time.Microsecond))
	}
	for _, part := range []struct {
		what  string
		lines []string
	}{{"header", headerEdits(p)}, {"body", bodyEdits(p)}, {"recipients", ruleWords(p)}, {"asks to", askWords(p)}} {
		for _, line := range part.lines {
			fmt.Fprintf(w, "%-11s %s\n", part.what, printable(line, false))
		}
	}
	for _, key := range sortedKeys(p.Notes) {
		fmt.Fprintf(w, "note        %s = %s\n", printable(key, false), printable(p.Notes[key], false))
	}
}

// maxShownBody is how much of a message's body is printed, in octets.
const maxShownBody = 64 << 10

func printMessage(w io.Writer, p *host.Post) error {
	body := make([]byte, min(p.Body.Size(), maxShownBody))
	if _, err := p.Body.ReadAt(body, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	text := strings.ReplaceAll(string(p.Header.Bytes())+"\n"+string(body), "\r\n", "\n")
	fmt.Fprintf(w, "\n%s", printable(text, true))
	if more := p.Body.Size() - int64(len(body)); more > 0 {
		fmt.Fprintf(w, "\n… and %s more; --output writes all.\n", size(more))
	}
	return nil
}

// writeMessage writes the message as it goes on, octet for octet.
func writeMessage(path string, p *host.Post) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(p.Header.Bytes(), p.Header.LineEnd()...))
	if err == nil {
		_, err = p.Body.WriteTo(f)
	}
	return closing(err, f.Close)
}
