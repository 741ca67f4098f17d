// Package dmarc keeps a list's posts from being refused because of their author's DMARC policy.
//
// A list changes posts, and so breaks the author's signature; SPF never speaks for the author
// of what a list sends. Where the author's domain asks receivers to refuse such mail, stage
// dmarc puts the list's address into From (munge_from), puts the post into a message of the
// list's (wrap_message), or refuses it. It looks at the post as the stages before it have left
// it: one that still passes goes on untouched.
package dmarc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Actions: the words of the setting dmarc_mitigate_action.
const (
	noMitigation = "no_mitigation"
	mungeFrom    = "munge_from"
	wrapMessage  = "wrap_message"
	reject       = "reject"
	discard      = "discard"
)

// Config is [plugin.dmarc].
type Config struct {
	OwnDomains []string `json:"own_domains" help:"domains whose authors' posts pass as they are, because we or the MTA sign for them, or SPF names us"`
	DNSTimeout string   `json:"dns_timeout" help:"of all questions about one post"`

	timeout time.Duration
}

// Validate refuses what cannot be meant.
func (c *Config) Validate() (err error) {
	if c.timeout, err = time.ParseDuration(c.DNSTimeout); err != nil || c.timeout <= 0 {
		return fmt.Errorf("dns_timeout %q: want a time such as 5s", c.DNSTimeout)
	}
	return nil
}

// Stage returns stage dmarc, which asks this DNS. It belongs behind everything that changes
// posts, and before sign.
func Stage(dns mailauth.Resolver) sdk.Stage {
	return sdk.Stage{
		Name:    "dmarc",
		Help:    "puts the list into From where the author's domain would have the post refused",
		Body:    true,
		AtSMTP:  true,
		Handler: &handler{dns: dns, config: Config{OwnDomains: []string{}, DNSTimeout: "5s"}},
	}
}

// smtpTimeout bounds all questions while the sender's session waits.
const smtpTimeout = 2 * time.Second

type handler struct {
	dns    mailauth.Resolver
	config Config
}

// Config implements sdk.Configurer.
func (h *handler) Config() any { return &h.config }

// Handle implements sdk.Handler.
func (h *handler) Handle(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if p.List.Bool("anonymous_list") || alone(p) {
		return sdk.Accept, nil // From is the list already
	}
	domains := mailauth.AuthorDomains(p.Header)
	action := actionFor(p.List, domains)
	refuses := action == reject || action == discard
	if action == noMitigation || p.AtSMTP && !refuses { // then only a refusal matters
		return sdk.Accept, nil
	}
	need, feared, err := h.needed(ctx, p, action, domains)
	if err != nil || !need {
		return sdk.Accept, err
	}
	if refuses {
		// What is only feared is no reason to refuse a post; nor does one that a moderator
		// has let through come back.
		if feared || p.Approved {
			action = mungeFrom
		}
	}
	note(p, "action", action)
	p.Count(action, 1)
	switch action {
	case reject:
		return sdk.Reject("dmarc", notice(p.List, domains)), nil
	case discard:
		return sdk.Discard("dmarc", notice(p.List, domains)), nil
	case wrapMessage:
		done, err := wrap(p)
		if done || err != nil {
			return sdk.Accept, err
		}
		note(p, "action", mungeFrom)
	}
	munge(p)
	return sdk.Accept, nil
}

func note(p *sdk.Post, name, text string) {
	if p.Notes == nil {
		p.Notes = map[string]string{}
	}
	p.Notes["dmarc."+name] = text
}

// notice is what the author of a refused post is told.
func notice(l sdk.List, domains []string) string {
	if text := l.String("dmarc_moderation_notice"); text != "" {
		return strings.TrimSpace(l.Fill(text, func(name string) (string, bool) { return strings.Join(domains, ", "), name == "domain" }))
	}
	return fmt.Sprintf("This list cannot take posts from %s: its DMARC policy has receivers refuse what mailing lists send on.", strings.Join(domains, " and "))
}

// actionFor is the list's action, or that of the nearest domain in dmarc_mitigate_domains.
func actionFor(l sdk.List, domains []string) string {
	action := l.String("dmarc_mitigate_action")
	longest := 0
	for _, line := range l.Lines("dmarc_mitigate_domains") {
		words := strings.Fields(line)
		if len(words) != 2 {
			continue
		}
		domain := strings.Trim(words[0], ".")
		for _, d := range domains {
			if len(domain) > longest && mailauth.Within(d, domain) {
				longest, action = len(domain), words[1]
			}
		}
	}
	switch action {
	case noMitigation, mungeFrom, wrapMessage, reject, discard:
		return action
	}
	return mungeFrom // a word that this version does not know: munging loses nothing
}

// needed tells whether the post would be refused as it stands. feared says that this is not
// certain: DNS did not tell, or only some receivers would.
func (h *handler) needed(ctx context.Context, p *sdk.Post, action string, domains []string) (need, feared bool, err error) {
	if h.own(domains) {
		return false, false, nil
	}
	if p.List.Bool("dmarc_mitigate_unconditionally") && action != reject && action != discard {
		return true, false, nil
	}
	for _, a := range authorsOf(p) {
		if matches(p.List.Lines("dmarc_addresses"), a.Address) {
			return true, false, nil
		}
	}
	timeout := h.config.timeout
	if p.AtSMTP {
		timeout = min(timeout, smtpTimeout) // the whole consultation has five seconds
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	policy, stated, err := h.policies(ctx, p, domains)
	if err != nil {
		// A policy may be there that receivers see. Mailman thinks so too, and so nothing is lost.
		p.Log().Warn("the author's DMARC policy is not known: mitigating", "domains", strings.Join(domains, " "), "err", err)
		p.Count("dns-trouble", 1)
		return true, true, nil
	}
	if !policy && !stated {
		return false, false, nil
	}
	result, err := h.result(ctx, p, domains)
	return result != mailauth.Pass, !policy || result == mailauth.TempError, err
}

// own tells whether all authors are of our own domains.
func (h *handler) own(domains []string) bool {
	if len(domains) == 0 {
		return false
	}
	for _, d := range domains {
		ours := false
		for _, o := range h.config.OwnDomains {
			ours = ours || mailauth.Within(d, strings.Trim(o, "."))
		}
		if !ours {
			return false
		}
	}
	return true
}

// maxAuthors is how many author domains are looked up, and how many authors are named.
const maxAuthors = 5

// policies tells whether one of the authors' domains publishes quarantine or reject: such that
// every receiver is asked to act on it, or stated at least. A domain that is only trying its
// policy (t=y) asks nobody to refuse, but lists to rewrite From (RFC 9989 4.7).
func (h *handler) policies(ctx context.Context, p *sdk.Post, domains []string) (policy, stated bool, err error) {
	stated = len(domains) > maxAuthors // nobody knows what receivers make of that
	for _, d := range domains[:min(len(domains), maxAuthors)] {
		pub, err := mailauth.Lookup(ctx, h.dns, d)
		if errors.Is(err, mailauth.ErrNoDNS) {
			// A machine that never had an answer, such as one in a laboratory, is not one
			// whose DNS is down.
			p.Log().Warn("no DNS: DMARC policies are not known, and nothing is mitigated")
			return false, false, nil
		}
		if err != nil {
			return false, false, err
		}
		if pub.Stated != mailauth.NoPolicy {
			note(p, "policy", string(pub.Stated))
		}
		stated = stated || pub.Stated.Enforced()
		if pub.Policy.Enforced() {
			return true, true, nil
		}
	}
	return false, stated, nil
}

// result is how receivers would judge the post as it is now, edits of all the stages before
// included. That is the whole question: not what was edited, but what the signature covers.
func (h *handler) result(ctx context.Context, p *sdk.Post, domains []string) (mailauth.Result, error) {
	// With personalize = full each copy gets a To of its own, after all stages.
	if !p.Header.Has("DKIM-Signature") || p.List.String("personalize") == "full" {
		return mailauth.Fail, nil
	}
	v := mailauth.Verifier{Resolver: h.dns}
	found, err := v.Verify(ctx, p.Header, io.NewSectionReader(p.Body, 0, p.Body.Size()))
	if err != nil {
		return mailauth.Fail, fmt.Errorf("dmarc %s: %w", p.Entry, err)
	}
	return mailauth.Evaluate(ctx, h.dns, domains, found.DKIM, "").Result, nil
}

// matches tells whether one of the lines is the address, or a pattern for it.
func matches(lines []string, addr string) bool {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "^") {
			if re, err := regexp.Compile("(?i)" + line); err == nil && re.MatchString(addr) {
				return true
			}
		} else if line != "" && message.AddressKey(line) == message.AddressKey(addr) {
			return true
		}
	}
	return false
}
