package postfix

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
)

// checkRewriting looks at what Postfix makes of lists' addresses and header fields, on the way
// in and on the way out.
func (p *Instance) checkRewriting(ctx context.Context, e Expect) (out []Finding, err error) {
	own, err := p.cleanup(ctx, e)
	if err != nil {
		return nil, err
	}
	for _, l := range e.Samples {
		for _, look := range []func(context.Context, address.Address) (*Finding, error){p.checkAliases, own.canonical, own.masquerade} {
			f, err := look(ctx, l)
			if err != nil {
				return nil, err
			}
			if f != nil {
				out = append(out, *f)
			}
		}
	}
	bcc, err := p.Param(ctx, "always_bcc")
	if err != nil {
		return nil, err
	}
	if a, err := address.Parse(bcc); err == nil && slices.Contains(e.Domains, a.Domain) {
		out = append(out, finding("`postconf -X always_bcc`, or name an address that is no list's.", "always_bcc sends a copy of all mail to %s, and so copies of a list's mail to a list: it goes round.", bcc))
	}
	checks, err := p.Param(ctx, "smtp_header_checks")
	if err != nil || len(e.Samples) == 0 {
		return out, err
	}
	l := e.Samples[0]
	for _, field := range []string{fmt.Sprintf("List-Id: <%s.%s>", l.Local, l.Domain), fmt.Sprintf("List-Unsubscribe: <mailto:%s-leave@%s>", l.Local, l.Domain), "DKIM-Signature: v=1; a=rsa-sha256; d=" + l.Domain} {
		hit, table, err := p.first(ctx, "smtp_header_checks", field, "")
		if err != nil {
			return []Finding{finding("Its cause is in the error.", "smtp_header_checks (%s) cannot be asked: mail that leaves this machine is deferred: %v.", checks, err)}, nil
		}
		if action, _, _ := strings.Cut(hit, " "); slices.Contains([]string{"IGNORE", "REPLACE", "STRIP"}, strings.ToUpper(action)) {
			name, _, _ := strings.Cut(field, ":")
			out = append(out, finding("Have it leave that field alone.", "smtp_header_checks (%s) changes %s in mail that leaves this machine: %s.", table, name, hit))
		}
	}
	return out, nil
}

// tidy is a Postfix seen by prepared mail that comes in: with the parameters that the cleanup
// service has for itself.
type tidy struct {
	*Instance
	own map[string]string
}

// cleanup finds the cleanup service of the hand-back port.
func (p *Instance) cleanup(ctx context.Context, e Expect) (*tidy, error) {
	t := &tidy{Instance: p}
	if e.HandBack == "" {
		return t, nil
	}
	entry, err := p.listener(ctx, e.HandBack)
	if err != nil {
		return nil, err
	}
	name := overrides(entry)["cleanup_service_name"]
	if name == "" {
		return t, nil
	}
	service, err := p.service(ctx, name+"/unix")
	t.own = overrides(strings.Fields(service))
	return t, err
}

// checkAliases wants a list's addresses to stay what they are.
func (p *Instance) checkAliases(ctx context.Context, l address.Address) (*Finding, error) {
	for _, role := range []string{"", "-bounces+nobody=example.com"} {
		local := strings.ToLower(l.Local + role)
		plain, _, _ := strings.Cut(local, "+")
		for _, key := range slices.Compact([]string{local + "@" + l.Domain, plain + "@" + l.Domain, "@" + l.Domain}) {
			hit, table, err := p.first(ctx, "virtual_alias_maps", key, "")
			if err != nil {
				f := finding("Its cause is in the error; until then Postfix defers all mail, not only that of lists.", "virtual_alias_maps cannot be asked for %s: %v.", key, err)
				return &f, nil
			}
			if hit == "" {
				continue
			}
			if strings.EqualFold(hit, key) {
				break // as itself
			}
			f := finding(fmt.Sprintf("Take that out, or have the address stand before it as itself; for a catch-all `mlist postfix setup --domain %s --apply` does so.", l.Domain),
				"%s in virtual_alias_maps makes %s into %s: mail for it never comes to mlist.", table, local+"@"+l.Domain, hit)
			return &f, nil
		}
	}
	return nil, nil
}

// canonical wants the same of the other tables that change addresses.
func (p *tidy) canonical(ctx context.Context, l address.Address) (*Finding, error) {
	for _, ask := range []struct{ param, role, what string }{
		{"sender_canonical_maps", "-bounces", "bounces never come back"},
		{"canonical_maps", "-bounces", "bounces never come back"},
		{"canonical_maps", "", "mail for the list goes elsewhere"},
		{"recipient_canonical_maps", "", "mail for the list goes elsewhere"},
	} {
		if own, ok := p.own[ask.param]; ok && own == "" && ask.role != "" {
			continue
		}
		a := strings.ToLower(l.Local+ask.role) + "@" + l.Domain
		for _, key := range []string{a, "@" + l.Domain} {
			hit, table, err := p.first(ctx, ask.param, key, "")
			if err != nil {
				f := finding("Its cause is in the error; until then Postfix defers all mail, not only that of lists.", "%s cannot be asked for %s: %v.", ask.param, key, err)
				return &f, nil
			}
			if hit == "" || strings.EqualFold(hit, key) {
				continue
			}
			f := finding("Leave lists' addresses out of it.", "%s in %s makes %s into %s: %s.", table, ask.param, a, hit, ask.what)
			return &f, nil
		}
	}
	return nil, nil
}

// masquerade wants the domain of return paths to stay what it is.
func (p *tidy) masquerade(ctx context.Context, l address.Address) (*Finding, error) {
	value, err := p.Param(ctx, "masquerade_domains")
	if own, ok := p.own["masquerade_domains"]; ok {
		value = own
	}
	if err != nil {
		return nil, err
	}
	classes, err := p.Param(ctx, "masquerade_classes")
	if err != nil || !slices.Contains(split(classes), "envelope_sender") {
		return nil, err
	}
	for _, item := range split(value) {
		domain := strings.TrimLeft(item, "!")
		if !strings.EqualFold(l.Domain, domain) && !hasSuffixFold(l.Domain, "."+domain) {
			continue
		}
		if domain != item || strings.EqualFold(l.Domain, domain) {
			return nil, nil
		}
		f := finding(fmt.Sprintf("Put !%s before it in masquerade_domains, and `postfix reload`.", l.Domain),
			"masquerade_domains (%s) makes the return path %s-bounces@%s one of %s: bounces never come back.", item, l.Local, l.Domain, item)
		return &f, nil
	}
	return nil, nil
}
