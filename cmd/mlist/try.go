package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/lmtpd"
	"github.com/mlist/mlist/pipeline"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/wire"
)

// Exit statuses of `mlist try`, which 0, 1 and 2 leave room for.
var verdictStatus = map[sdk.Kind]exitStatus{sdk.KindHold: 10, sdk.KindReject: 11, sdk.KindDiscard: 12}

// tryOptions are the flags of `mlist try`.
type tryOptions struct {
	list, from string
	fromGiven  bool
	texts      *templates.Set
	recipients bool
	atSMTP     bool
	file       string
}

func (a *app) tryCommand() *cobra.Command {
	var o tryOptions
	c := &cobra.Command{
		Use:   "try --list LIST [FILE|-]",
		Short: "tell what would become of a message, without posting it",
		Long: `Reads a message from FILE, or from standard input, and tells what would become of it if it were posted to the list now:
what each stage decides and changes, and who would receive it. Nothing is stored, counted or sent, nobody is told, and the
daemons need not run: the plugins are started for this, as the configuration says.

Lines of the message may end in LF or CRLF. --from is the envelope sender; without it, it is what Return-Path or else From
says. That a message was posted before is told, and the stages are asked all the same.

With --smtp it tells what they would say while the sender's SMTP session waits: only the stages that judge then are asked,
and they change nothing.

The exit status tells the verdict: 0 accept, 10 hold, 11 reject, 12 discard; 1 after an error, such as a plugin that fails,
and 2 when the command line is wrong.`,
		Example: `  mlist try --list dev@lists.example.org post.eml
  mlist try --list dev@lists.example.org --from eve@example.net < post.eml
  mlist held show aaaqeayeaudaocaj --message | mlist try --list dev@lists.example.org --json
  mlist try --list dev@lists.example.org --recipients post.eml`,
		Args: between(0, 1, "a file, or - for standard input"),
	}
	c.Flags().StringVar(&o.list, "list", "", "the list, by its address")
	c.Flags().StringVar(&o.from, "from", "", `envelope sender; "" is the null one of bounces`)
	c.Flags().BoolVar(&o.recipients, "recipients", false, "print all recipients, not just the first ten")
	c.Flags().BoolVar(&o.atSMTP, "smtp", false, "ask only the stages that judge while the sender's SMTP session waits")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o.fromGiven, o.file = cmd.Flags().Changed("from"), "-"
		if len(args) > 0 {
			o.file = args[0]
		}
		if o.list == "" {
			return usageError{errors.New("want --list LIST")}
		}
		return a.try(cmd, o)
	}
	return c
}

// tryGrace is how long plugins may take to stop afterwards.
const tryGrace = 5 * time.Second

func (a *app) try(cmd *cobra.Command, o tryOptions) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	if o.texts, err = templates.Load(c.Templates.Dir, c.Templates.Language); err != nil {
		return err
	}
	return a.withList(cmd, o.list, func(st store.Store, l *list.List) (err error) {
		msg, err := a.readMail(o.file, int64(c.LMTPD.MaxMessageSize))
		if err != nil {
			return err
		}
		defer func() { err = closing(err, msg.Close) }()
		// An interrupted command must not leave the copy behind.
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		cmd.SetContext(ctx)
		env, err := envelopeFor(msg, l, o)
		if err != nil {
			return err
		}
		var level slog.LevelVar
		level.Set(slog.LevelWarn) // what goes well is not of interest here
		cfg := hostConfig(c, slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: &level})))
		cfg.Members, cfg.State = members{st}, st // State only reads; what plugins change would come with a commit
		h, err := host.Start(cmd.Context(), cfg)
		if err != nil {
			return withHint(fmt.Errorf("start the plugins: %w", err), "pipeline.plugin_dir says where they are, pipeline.stages which of them are needed.")
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), tryGrace)
			defer cancel()
			if cerr := h.Close(ctx); err == nil {
				err = cerr
			}
		}()
		return a.tryWith(cmd, o, h, st, l, msg, env)
	})
}

func (a *app) tryWith(cmd *cobra.Command, o tryOptions, h *host.Host, st store.Store, l *list.List, msg *mailFile, env spool.Envelope) error {
	r, err := newReport(msg)
	if err != nil {
		return err
	}
	r.limit = maxAddresses
	if o.recipients {
		r.limit = -1
	}
	var stages pipeline.Stages = observed{h, r.stage}
	if o.atSMTP {
		stages = consulted{h}
	}
	t, err := pipeline.Try(cmd.Context(), st, o.texts, stages, l, msg, env, r.recipient)
	if err != nil {
		return err
	}
	if o.atSMTP {
		r.consulted(t)
	}
	if r.err != nil {
		return r.err
	}
	r.finish(l, env, t)
	if a.json {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.print(cmd.OutOrStdout())
	}
	if err != nil {
		return err
	}
	if status, ok := verdictStatus[t.Result.Verdict.Kind]; ok {
		return status
	}
	return nil
}

// observed runs plugins, and shows what each stage asks for.
type observed struct {
	host    *host.Host
	observe func(wire.Result)
}

func (o observed) Run(ctx context.Context, p *host.Post) (host.Result, error) {
	return o.host.Observe(ctx, p, o.observe)
}

// consulted asks plugins as the milter does.
type consulted struct{ host *host.Host }

func (c consulted) Run(ctx context.Context, p *host.Post) (host.Result, error) {
	return c.host.Consult(ctx, p)
}

// envelopeFor is the envelope of a message as lmtpd would write it.
func envelopeFor(msg *mailFile, l *list.List, o tryOptions) (spool.Envelope, error) {
	block, _, err := message.Split(msg, msg.Size())
	if err != nil {
		return spool.Envelope{}, err
	}
	env := spool.Envelope{Role: string(address.RolePost), Sender: o.from, Recipient: l.Address.String(), Received: time.Now().Truncate(time.Microsecond), Peer: "try"}
	if !o.fromGiven {
		env.Sender = claimedSender(message.ParseHeader(block))
	}
	if env.Sender != "" {
		from, err := address.Parse(env.Sender)
		if err != nil {
			return env, withHint(fmt.Errorf("envelope sender %w", err), "--from says another.")
		}
		env.Sender = from.String()
		if !from.IsASCII() {
			env.Flags = append(env.Flags, spool.FlagSMTPUTF8)
		}
	}
	if lmtpd.Malformed(block) {
		env.Flags = append(env.Flags, spool.FlagMalformed)
	}
	return env, nil
}

// claimedSender is the envelope sender that the message itself tells of.
func claimedSender(h *message.Header) string {
	for _, field := range []string{"Return-Path", "From"} {
		for _, m := range message.ParseMailboxes(h.Get(field)) {
			if m.Address != "" {
				return m.Address
			}
		}
	}
	return ""
}
