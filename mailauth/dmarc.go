package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// maxWalk is how many names a walk up the tree asks at most (RFC 9989 4.10).
const maxWalk = 8

// Disposition is what a domain wants to become of mail that fails.
type Disposition string

// Dispositions.
const (
	NoPolicy   Disposition = "" // there is no record
	PolicyNone Disposition = "none"
	Quarantine Disposition = "quarantine"
	Reject     Disposition = "reject"
)

// Enforced tells whether receivers are asked to keep failing mail from people.
func (d Disposition) Enforced() bool { return d == Quarantine || d == Reject }

func (d Disposition) weight() int {
	return slices.Index([]Disposition{NoPolicy, PolicyNone, Quarantine, Reject}, d)
}

// record is a DMARC policy record.
type record struct {
	at                  string // the domain whose record it is
	p, sp, np           Disposition
	invalid             bool // p is missing, or one of the three is no word for a policy
	reports             bool // rua has an address
	strictDKIM          bool // adkim=s
	strictSPF           bool // aspf=s
	testing             bool
	publicSuffix, owner bool // psd=y, psd=n
}

// parseRecord reads a record; false if it is none of DMARC. RFC 9989 4.7: a tag that is
// unknown or makes no sense is ignored, and so the default holds; but not for policies.
func parseRecord(at, text string) (record, bool) {
	r := record{at: at}
	if len(text) > maxRecord {
		return r, false
	}
	seen := map[string]bool{}
	for i, spec := range strings.Split(text, ";") {
		name, v, _ := strings.Cut(spec, "=")
		name, v = strings.ToLower(trim(name)), trim(v)
		if i == 0 {
			if name != "v" || v != "DMARC1" {
				return r, false
			}
			continue
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		r.set(name, strings.ToLower(v))
	}
	r.invalid = r.invalid || r.p == NoPolicy
	if r.sp == NoPolicy {
		r.sp = r.p
	}
	if r.np == NoPolicy {
		r.np = r.sp
	}
	return r, true
}

func (r *record) set(name, v string) {
	d := NoPolicy
	switch Disposition(v) {
	case PolicyNone, Quarantine, Reject:
		d = Disposition(v)
	}
	switch name {
	case "p", "sp", "np":
		r.invalid = r.invalid || d == NoPolicy
	case "rua":
		r.reports = slices.ContainsFunc(strings.Split(v, ","), isURI)
	}
	switch name {
	case "p":
		r.p = d
	case "sp":
		r.sp = d
	case "np":
		r.np = d
	case "adkim":
		r.strictDKIM = v == "s"
	case "aspf":
		r.strictSPF = v == "s"
	case "t":
		r.testing = v == "y"
	case "psd":
		r.publicSuffix, r.owner = v == "y", v == "n"
	}
}

// isURI: a scheme, and something that it is for. A size that old records allow is no part of it.
func isURI(s string) bool {
	s, _, _ = strings.Cut(trim(s), "!")
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && (u.Opaque != "" || u.Host != "")
}

// walk asks for the records of a domain and those above it, from the bottom up.
func walk(ctx context.Context, r Resolver, domain string) ([]record, error) {
	var found []record
	for name, n := domain, 0; name != "" && n < maxWalk; n++ {
		rec, ok, err := lookupRecord(ctx, r, name)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, rec)
			if rec.owner || rec.publicSuffix {
				break
			}
		}
		name = above(name)
	}
	return found, nil
}

// above is the next name of a walk: a long one is cut to seven labels at once.
func above(name string) string {
	labels := strings.Split(name, ".")
	cut := 1
	if len(labels) > maxWalk {
		cut = len(labels) - (maxWalk - 1)
	}
	return strings.Join(labels[cut:], ".")
}

// lookupRecord returns the record of just this name. More than one is as good as none.
func lookupRecord(ctx context.Context, r Resolver, name string) (rec record, ok bool, err error) {
	texts, err := r.LookupTXT(ctx, "_dmarc."+name)
	if errors.Is(err, ErrNotFound) {
		return rec, false, nil
	}
	if err != nil {
		return rec, false, fmt.Errorf("DMARC record of %s: %w", name, err)
	}
	n := 0
	for _, text := range texts {
		if one, is := parseRecord(name, text); is {
			rec = one
			n++
		}
	}
	return rec, n == 1, nil
}

// organization is the Organizational Domain (RFC 9989 4.10.2), given what a walk from the
// domain found.
func organization(domain string, found []record) string {
	org := domain
	for _, rec := range found {
		switch {
		case rec.owner:
			return rec.at
		case rec.publicSuffix && rec.at != domain:
			// The domain one label below it.
			rest := strings.TrimSuffix(domain, "."+rec.at)
			return rest[strings.LastIndexByte(rest, '.')+1:] + "." + rec.at
		}
		org = rec.at // the one with the fewest labels is the last
	}
	return org
}

// Published is what the owner of an author's domain says about its mail.
type Published struct {
	Domain string      // the author's
	Org    string      // its organizational domain
	At     string      // whose record it is; empty if there is none
	Policy Disposition // NoPolicy if there is none
	// Stated is the strictest that a receiver may go by: those of RFC 7489 know neither t=y,
	// which takes Policy one step down, nor np. RFC 9989 wants who rewrites From to go by it.
	Stated Disposition
	record record
}

// Lookup finds the policy for mail of an author's domain: the domain's own record, or else
// that of its organizational domain, or of the public suffix above it (RFC 9989 4.10.1).
func Lookup(ctx context.Context, r Resolver, domain string) (Published, error) {
	domain = lower(domain)
	p := Published{Domain: domain, Org: domain}
	if !isDomain(domain, 1) {
		return p, nil
	}
	found, err := walk(ctx, r, domain)
	if err != nil {
		return p, err
	}
	p.Org = organization(domain, found)
	for _, rec := range found {
		if rec.at == domain || rec.at == p.Org || rec.publicSuffix {
			p.At, p.record = rec.at, rec
			break
		}
	}
	if p.At == "" {
		return p, nil
	}
	p.Stated = p.record.p
	if domain != p.At {
		p.Stated = stricter(p.record.sp, p.record.np)
	}
	// RFC 9989 4.10.1: a record that does not say what to do is there for its reports, or not at all.
	switch {
	case !p.record.invalid:
		p.Policy, err = p.record.policyFor(ctx, r, domain)
	case p.record.reports:
		p.Policy, p.Stated = PolicyNone, stricter(PolicyNone, p.Stated)
	default:
		p.At = ""
	}
	return p, err
}

func stricter(a, b Disposition) Disposition {
	if a.weight() > b.weight() {
		return a
	}
	return b
}

// policyFor chooses among p, sp and np. A domain that is only testing is taken one step
// more lightly (RFC 9989 4.7, t).
func (r record) policyFor(ctx context.Context, res Resolver, domain string) (Disposition, error) {
	d := r.p
	if domain != r.at {
		d = r.sp
		if r.np != r.sp {
			exists, err := res.Exists(ctx, domain)
			if err != nil {
				return d, fmt.Errorf("does %s exist: %w", domain, err)
			}
			if !exists {
				d = r.np
			}
		}
	}
	if r.testing {
		switch d {
		case Reject:
			d = Quarantine
		case Quarantine:
			d = PolicyNone
		}
	}
	return d, nil
}

// AlignedDKIM tells whether a valid signature by this domain speaks for the author.
func (p Published) AlignedDKIM(ctx context.Context, r Resolver, domain string) (bool, error) {
	return p.aligned(ctx, r, domain, p.record.strictDKIM)
}

// AlignedSPF tells the same of a domain that SPF passed for.
func (p Published) AlignedSPF(ctx context.Context, r Resolver, domain string) (bool, error) {
	return p.aligned(ctx, r, domain, p.record.strictSPF)
}

func (p Published) aligned(ctx context.Context, r Resolver, domain string, strict bool) (bool, error) {
	domain = lower(domain)
	if domain == p.Domain {
		return true, nil
	}
	// A domain's organization is the domain itself or above it.
	if strict || !isDomain(domain, 1) || !within(domain, p.Org) {
		return false, nil
	}
	found, err := walk(ctx, r, domain)
	return err == nil && organization(domain, found) == p.Org, err
}

// DMARC is how a message fares.
type DMARC struct {
	Result  Result // None, Pass, Fail, TempError; PermError where From names nobody
	Policy  Disposition
	Domain  string // the author's; the first that does not pass, if there are several
	Aligned string // the domain whose signature or SPF speaks for the author
	Reason  string
}

// AuthorDomains are the domains that the From fields name, each once.
func AuthorDomains(h *message.Header) []string {
	var out []string
	for _, m := range h.Mailboxes("From") {
		d := lower(m.Address[strings.LastIndexByte(m.Address, '@')+1:])
		if isDomain(d, 1) && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// maxAuthors is how many author domains are looked up; ordinary mail has one.
const maxAuthors = 5

// Evaluate says how a message by these authors fares whose signatures were judged so; spf is
// the domain that SPF passed for, or "". Of several authors each must pass.
func Evaluate(ctx context.Context, r Resolver, authors []string, dkim []Signature, spf string) DMARC {
	if len(authors) == 0 || len(authors) > maxAuthors {
		return DMARC{Result: PermError, Reason: fmt.Sprintf("From names %d domains", len(authors))}
	}
	var out DMARC
	for i, domain := range authors {
		d := evaluate(ctx, r, domain, dkim, spf)
		if i == 0 || worse(d, out) {
			out = d
		}
	}
	return out
}

func worse(a, b DMARC) bool {
	order := []Result{Pass, None, TempError, Fail}
	ia, ib := slices.Index(order, a.Result), slices.Index(order, b.Result)
	return ia > ib || ia == ib && a.Policy.weight() > b.Policy.weight()
}

func evaluate(ctx context.Context, r Resolver, domain string, dkim []Signature, spf string) DMARC {
	d := DMARC{Domain: domain}
	p, err := Lookup(ctx, r, domain)
	if err != nil {
		d.Result, d.Reason = TempError, err.Error()
		return d
	}
	if p.At == "" {
		d.Result, d.Reason = None, "no policy is published for "+domain
		return d
	}
	d.Policy = p.Policy
	var trouble error
	for _, s := range dkim {
		if s.Result == TempError {
			trouble = fmt.Errorf("signature of %s: %s", s.Domain, s.Reason)
		}
		if s.Result != Pass {
			continue
		}
		ok, err := p.AlignedDKIM(ctx, r, s.Domain)
		if ok {
			d.Result, d.Aligned = Pass, lower(s.Domain)
			return d
		}
		trouble = errors.Join(trouble, err)
	}
	if spf != "" {
		ok, err := p.AlignedSPF(ctx, r, spf)
		if ok {
			d.Result, d.Aligned = Pass, lower(spf)
			return d
		}
		trouble = errors.Join(trouble, err)
	}
	if trouble != nil {
		d.Result, d.Reason = TempError, trouble.Error()
		return d
	}
	d.Result, d.Reason = Fail, "nothing that passes speaks for "+domain
	return d
}
