// Package authenticate finds out who vouches for a post, and vouches for what the list sends.
//
// Stage authenticate believes the Authentication-Results of the MTA's own verifier, takes
// out forged ones, and verifies DKIM and ARC itself where nobody did. It leaves notes:
//
//	auth.dkim     example.org=pass example.net=fail: each signing domain, and how it fared
//	auth.spf      pass example.org: the result, and the domain of the envelope sender
//	auth.dmarc    pass, fail, none, temperror or permerror
//	auth.arc      none, pass, fail or temperror
//	auth.aligned  the domain that passed and speaks for the author (DMARC alignment)
//	auth.results  all of it, as an Authentication-Results field of ours would say it
//
// A note that is missing says that nobody looked. Stage sign signs with DKIM and seals with
// ARC what the other stages have made of the post.
package authenticate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
)

// Config is [plugin.authenticate].
type Config struct {
	AuthservIDs []string `json:"authserv_ids" help:"whose Authentication-Results fields are believed; hostname's when empty"`
	Received    int      `json:"received" help:"how many Received fields may stand above one that is believed: 1 if the MTA's verifier writes below the MTA's own (and takes forged ones out), else 0"`
	Verify      string   `json:"verify" help:"verify DKIM, ARC and DMARC here: never; missing, where such a field does not tell; or always"`
	DNSTimeout  string   `json:"dns_timeout" help:"of all questions about one post"`

	timeout time.Duration
}

// Validate refuses what cannot be meant.
func (c *Config) Validate() (err error) {
	if !slices.Contains([]string{"never", "missing", "always"}, c.Verify) {
		return fmt.Errorf("verify %q: want never, missing or always", c.Verify)
	}
	if c.Received < 0 || c.Received > 10 {
		return fmt.Errorf("received %d: want 0 to 10", c.Received)
	}
	for i, id := range c.AuthservIDs {
		if id = strings.ToLower(strings.TrimSpace(id)); id == "" {
			return errors.New("authserv_ids: an empty name")
		}
		c.AuthservIDs[i] = id
	}
	if c.timeout, err = time.ParseDuration(c.DNSTimeout); err != nil || c.timeout <= 0 {
		return fmt.Errorf("dns_timeout %q: want a time such as 5s", c.DNSTimeout)
	}
	return nil
}

// Authenticate returns stage authenticate, which asks this DNS.
func Authenticate(dns mailauth.Resolver) sdk.Stage {
	return sdk.Stage{
		Name:    "authenticate",
		Help:    "finds out who vouches for the post, and takes out forged Authentication-Results",
		Body:    true, // for signatures
		AtSMTP:  true,
		AtRCPT:  true, // it decides nothing
		Handler: &authenticate{dns: dns, config: Config{AuthservIDs: []string{}, Verify: "missing", DNSTimeout: "5s"}},
	}
}

// smtpTimeout bounds all questions while the sender's session waits.
const smtpTimeout = 2 * time.Second

type authenticate struct {
	dns    mailauth.Resolver
	config Config
}

// Config implements sdk.Configurer.
func (a *authenticate) Config() any { return &a.config }

// Handle implements sdk.Handler.
func (a *authenticate) Handle(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if p.AtRCPT {
		p.ByStanding()
		return sdk.Accept, nil
	}
	ids := a.config.AuthservIDs
	if len(ids) == 0 {
		ids = []string{strings.ToLower(p.Hostname)}
	}
	var f findings
	f.believe(p, ids, a.config.Received)
	if a.config.Verify != "never" {
		if err := a.verify(ctx, p, &f); err != nil {
			return sdk.Verdict{}, err
		}
	}
	f.leave(p, strings.ToLower(p.Hostname))
	return sdk.Accept, nil
}

// verify looks at what nobody has told; with verify = "always" nothing counts as told that can
// be seen in the post itself.
func (a *authenticate) verify(ctx context.Context, p *sdk.Post, f *findings) error {
	always := a.config.Verify == "always"
	if always {
		f.forget()
	}
	timeout := a.config.timeout
	if p.AtSMTP {
		timeout = min(timeout, smtpTimeout) // the whole consultation has five seconds
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dkim, arc := !f.toldDKIM, f.verdict.ARC.Result == unknown
	if dkim && p.Header.Has("DKIM-Signature") || arc && hasChain(p) {
		v := mailauth.Verifier{Resolver: a.dns}
		found, err := v.Verify(ctx, p.Header, io.NewSectionReader(p.Body, 0, p.Body.Size()))
		if err != nil {
			return fmt.Errorf("authenticate %s: %w", p.Entry, err)
		}
		if dkim {
			f.verdict.DKIM = found.DKIM
		}
		if arc {
			f.verdict.ARC = found.ARC
		}
	}
	f.toldDKIM = true
	if arc && f.verdict.ARC.Result == unknown {
		f.verdict.ARC.Result = mailauth.None
	}
	if f.dmarc == unknown {
		spf := ""
		if f.spf == mailauth.Pass {
			spf = f.spfDomain
		}
		d := mailauth.Evaluate(ctx, a.dns, mailauth.AuthorDomains(p.Header), f.verdict.DKIM, spf)
		f.dmarc, f.aligned = d.Result, d.Aligned
	}
	return nil
}

func hasChain(p *sdk.Post) bool {
	return p.Header.Has("ARC-Seal") || p.Header.Has("ARC-Message-Signature") || p.Header.Has("ARC-Authentication-Results")
}
