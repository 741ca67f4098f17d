package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/smtp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/postfix"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/internal/trace"
)

func (a *app) postfixCheck() *cobra.Command {
	var dir, port string
	var noProbe bool
	c := &cobra.Command{
		Use:   "check",
		Short: "tell what is wrong between Postfix and mlist",
		Long: `Compares Postfix's live configuration with what mlist needs, and sends a probe through the whole loop: a message to a list
that is made for it, whose one member is another list that is made for it, so that it goes in by SMTP, through LMTP, pipeline
and hand-back port, and comes in once more. Ends with status 1 if something is wrong.`,
		Example: "  mlist postfix check\n  mlist postfix check --no-probe --json",
		Args:    between(0, 0, "nothing"),
	}
	c.Flags().StringVar(&dir, "postfix", "", "Postfix's configuration directory; that of its default instance when empty")
	c.Flags().StringVar(&port, "smtp", "127.0.0.1:25", "where Postfix takes mail, for the probe")
	c.Flags().BoolVar(&noProbe, "no-probe", false, "send nothing")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := a.wiring(cmd.Context(), dir)
		if err != nil {
			return err
		}
		found, err := a.checkPostfix(cmd.Context(), w)
		if err != nil {
			return err
		}
		if !noProbe && len(found) == 0 {
			f, err := a.probe(cmd.Context(), w, port)
			if err != nil {
				return err
			}
			found = append(found, f...)
		}
		return a.printFindings(cmd.OutOrStdout(), found, "Postfix and mlist fit together.")
	}
	return c
}

// checkPostfix looks at the configuration.
func (a *app) checkPostfix(ctx context.Context, w *wiring) ([]postfix.Finding, error) {
	handBack, ok := strings.CutPrefix(w.cfg.Outbound.MTA, "smtp://")
	if !ok {
		handBack = ""
	}
	e := postfix.Expect{HandBack: handBack, MaxMessageSize: int64(w.cfg.LMTPD.MaxMessageSize), Limit: w.cfg.Outbound.RecipientsPerTransaction}
	for _, l := range w.cfg.LMTPD.Listen {
		e.LMTP = append(e.LMTP, mtaAddress(l))
	}
	var err error
	if e.Record, err = postfix.ReadRecord(w.record); err != nil {
		return nil, err
	}
	if e.Record != nil {
		e.Domains = e.Record.Domains
	}
	st, err := sqlstore.Open(ctx, w.cfg.Store.URL, sqlstore.Options{})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	sampled := map[string]bool{}
	for l, err := range st.AllLists(ctx, "") {
		if err != nil {
			return nil, err
		}
		d := l.Address.Domain
		if !slices.Contains(e.Domains, d) {
			e.Domains = append(e.Domains, d)
		}
		if !sampled[d] {
			sampled[d] = true
			e.Samples = append(e.Samples, l.Address)
		}
	}
	return w.p.Check(ctx, e)
}

// printFindings tells each in a sentence, and what to do in another.
func (a *app) printFindings(w io.Writer, found []postfix.Finding, well string) error {
	if a.json {
		if err := printJSON(w, append([]postfix.Finding{}, found...)); err != nil {
			return err
		}
	} else if len(found) == 0 {
		fmt.Fprintln(w, well)
	}
	if !a.json {
		for _, f := range found {
			fmt.Fprintf(w, "PROBLEM: %s\n         %s\n", printable(f.Cause, true), printable(f.Cure, true))
		}
	}
	if len(found) > 0 {
		return exitStatus(exitError)
	}
	return nil
}

// probeTime is how long the probe may be under way.
const probeTime = 30 * time.Second

// probe sends a message in a circle. The list for it is removed again in any case.
func (a *app) probe(ctx context.Context, w *wiring, port string) (found []postfix.Finding, err error) {
	r, err := postfix.ReadRecord(w.record)
	if err != nil {
		return nil, err
	}
	if r == nil || len(r.Domains) == 0 {
		return []postfix.Finding{{Cause: "Nothing was set up by `mlist postfix setup`, so that there is no domain to send a probe to.", Cure: "`mlist postfix setup --domain DOMAIN` shows what it would do; --no-probe leaves the probe out."}}, nil
	}
	if !w.cfg.Trace.Enabled {
		return []postfix.Finding{{Cause: "The probe's way cannot be followed, since the trace is off.", Cure: "trace.enabled = true in " + w.path + "; or --no-probe."}}, nil
	}
	st, err := sqlstore.Open(ctx, w.cfg.Store.URL, sqlstore.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(err, st.Close) }()
	name := "mlist-probe-" + strings.ToLower(rand.Text()[:10])
	// A domain of lists alone, where there is one: what else a domain takes is not mlist's matter.
	domain, alone := r.Domains[0], len(r.Tables.Dedicated) > 0
	if alone {
		domain = r.Tables.Dedicated[0]
	}
	// One list takes it, the other one, its member, throws it away when it comes back.
	out := address.Address{Local: name, Domain: domain}
	back := address.Address{Local: name + "-back", Domain: domain}
	defer func() {
		for _, addr := range []address.Address{out, back} {
			if derr := st.DeleteList(ctx, addr); err == nil && !errors.Is(derr, store.ErrNotFound) {
				err = derr
			}
		}
		if _, terr := r.Tables.Update(ctx, listAddresses(ctx, st), w.cfg.SiteName); err == nil {
			err = terr
		}
	}()
	for addr, action := range map[address.Address]list.Action{out: list.Accept, back: list.Discard} {
		l := &list.List{Address: addr, Settings: list.Defaults()}
		l.Settings.DefaultNonmemberAction, l.Settings.ArchivePolicy = action, "never"
		if err := st.CreateList(ctx, l); err != nil {
			return nil, err
		}
		if addr == out {
			if _, err := st.AddMembers(ctx, l.ID, each([]list.Membership{{Role: list.Member, Address: back}}), nil); err != nil {
				return nil, err
			}
		}
	}
	if _, err := r.Tables.Update(ctx, listAddresses(ctx, st), w.cfg.SiteName); err != nil {
		return nil, err
	}
	return w.circle(ctx, port, out, back, alone)
}

// circle sends the probe and waits until it is back. alone tells whether its domain has lists
// alone, and so no other addresses.
func (w *wiring) circle(ctx context.Context, port string, l, last address.Address, alone bool) ([]postfix.Finding, error) {
	unknown := address.Address{Local: l.Local + "-x", Domain: l.Domain}
	if code, _, err := answer(port, unknown); err != nil {
		return []postfix.Finding{{Cause: fmt.Sprintf("Postfix does not take mail at %s: %v.", port, err), Cure: "Start it, or name another address with --smtp."}}, nil
	} else if alone && code != 550 {
		return []postfix.Finding{{Cause: fmt.Sprintf("Postfix does not refuse mail to %s, which is no list (%d).", unknown, code),
			Cure: "relay_recipient_maps, or whatever says which recipients exist, lets everything through: look for a catch-all, and for smtpd_reject_unlisted_recipient = no."}}, nil
	}
	postmaster := address.Address{Local: "postmaster", Domain: l.Domain}
	if code, said, err := answer(port, postmaster); err != nil || alone && code/100 == 5 {
		return []postfix.Finding{{Cause: fmt.Sprintf("Postfix refuses mail to %s, which every domain must have: %d %s (%v).", postmaster, code, said, err),
			Cure: fmt.Sprintf("`mlist postfix setup --domain %s --apply` has it go to this machine's postmaster.", l.Domain)}}, nil
	}
	id := fmt.Sprintf("%s@%s", l.Local, l.Domain)
	text := fmt.Sprintf("From: probe <postmaster@%s>\r\nTo: %s\r\nSubject: probe\r\nMessage-ID: <%s>\r\nDate: %s\r\n\r\nA probe of `mlist postfix check`. It needs no answer.\r\n",
		l.Domain, l, id, time.Now().Format(time.RFC1123Z))
	if err := send(port, l, text); err != nil {
		return []postfix.Finding{{Cause: fmt.Sprintf("Postfix does not take a message to the list %s: %v.", l, err), Cure: "Its log says why: a restriction that stands before reject_unauth_destination, for instance."}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	for {
		came, sent, back := false, false, false
		for e, err := range trace.Find(ctx, tracePath(w.cfg), id) {
			if errors.Is(err, context.DeadlineExceeded) {
				break
			} else if err != nil {
				return nil, err
			}
			came = true
			sent = sent || e.Kind == trace.Sent
			back = back || e.List == last.String() && (e.Kind == trace.Discarded || e.Kind == trace.Done)
		}
		if back {
			return nil, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return []postfix.Finding{lost(came, sent)}, nil
		}
	}
}

// send hands over the probe, without TLS: it stays on this machine, and the certificate
// of a new Postfix is one that nobody can verify.
func send(port string, to address.Address, text string) error {
	c, err := smtp.Dial(port)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail("postmaster@" + to.Domain); err != nil {
		return err
	}
	if err := c.Rcpt(to.String()); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// lost says where the probe was seen last.
func lost(came, sent bool) postfix.Finding {
	switch {
	case !came:
		return postfix.Finding{Cause: "The probe went into Postfix and has not come to mlist.", Cure: "`postqueue -p` and Postfix's log say why: look for mlist-probe. `mlist status` tells whether mlist runs."}
	case !sent:
		return postfix.Finding{Cause: "The probe came to mlist and was not handed back.", Cure: "`mlist status` and `mlist queue ls` tell where it stays."}
	}
	return postfix.Finding{Cause: "The probe was handed back to Postfix and has not come round to mlist again.", Cure: "`postqueue -p` and Postfix's log say why: look for mlist-probe."}
}

// answer is what Postfix says to a recipient.
func answer(port string, rcpt address.Address) (code int, said string, err error) {
	c, err := smtp.Dial(port)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	if err := c.Hello("localhost"); err != nil {
		return 0, "", err
	}
	if err := c.Mail("postmaster@" + rcpt.Domain); err != nil {
		return 0, "", err
	}
	id, err := c.Text.Cmd("RCPT TO:<%s>", rcpt)
	if err != nil {
		return 0, "", err
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	return c.Text.ReadResponse(0)
}
