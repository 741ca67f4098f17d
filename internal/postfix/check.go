package postfix

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mlist/mlist/internal/address"
)

// Finding is something that is wrong: what it is and does, and what to do about it.
type Finding struct {
	Cause string `json:"cause"`
	Cure  string `json:"cure"`
}

func finding(cure, format string, args ...any) Finding {
	return Finding{Cause: fmt.Sprintf(format, args...), Cure: cure}
}

// Expect is what the configuration is compared with.
type Expect struct {
	Domains        []string // that lists are in
	LMTP           []string // where mlist takes mail, the first as Options has it
	HandBack       string   // HOST:PORT, or "" where it is something else
	MaxMessageSize int64
	Record         *Record           // nil: nothing was set up by mlist
	Limit          int               // recipients of one transaction at the hand-back port
	Samples        []address.Address // a list of each domain
}

const setUp = "`mlist postfix setup --domain %s --apply` puts it right."

// Check reads the live configuration and says what is wrong with it, as far as it can be
// seen without sending mail.
func (p *Instance) Check(ctx context.Context, e Expect) ([]Finding, error) {
	var out []Finding
	said, err := p.Warnings(ctx)
	if err != nil {
		return nil, err
	}
	for _, line := range said {
		// What else is written there that Postfix does not like is for its administrator to know.
		if strings.Contains(strings.ReplaceAll(line, p.Dir, ""), transportName) {
			out = append(out, finding("Correct what it names in "+p.Dir+".", "Postfix warns of its own configuration: %s.", line))
		}
	}
	for _, look := range []func(context.Context, Expect) ([]Finding, error){p.checkWayIn, p.checkDomains, p.checkTables, p.checkLive, p.checkWayBack, p.checkMilters, p.checkSizes, p.checkRewriting} {
		found, err := look(ctx, e)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (p *Instance) checkWayIn(ctx context.Context, e Expect) ([]Finding, error) {
	entry, err := p.service(ctx, transportName+"/unix")
	if err != nil {
		return nil, err
	}
	first := "DOMAIN"
	if len(e.Domains) > 0 {
		first = e.Domains[0]
	}
	if entry == "" {
		return []Finding{finding(fmt.Sprintf(setUp, first), "master.cf has no service %q: Postfix cannot hand list mail over.", transportName)}, nil
	}
	if f := strings.Fields(entry); len(f) > 7 && f[7] != "lmtp" {
		return []Finding{finding("Give that service another name, there and in transport_maps, and then: "+fmt.Sprintf(setUp, first), "The service %s in master.cf is none of LMTP (%.60s): no list mail comes to mlist.", transportName, entry)}, nil
	}
	path, ok := strings.CutPrefix(e.LMTP[0], "unix:")
	if !ok {
		return checkPort(ctx, strings.TrimPrefix(e.LMTP[0], "inet:"), "lmtpd.listen", "all list mail is deferred")
	}
	chrooted, err := p.Chrooted(ctx, transportName+"/unix")
	if err != nil {
		return nil, err
	}
	if chrooted {
		return []Finding{finding("Put n into the fifth column of the service mlist in master.cf, and `postfix reload`.",
			"The service mlist in master.cf runs in a chroot, where there is no %s: all list mail is deferred.", path)}, nil
	}
	return p.reach(ctx, path, "all list mail is deferred")
}

func (p *Instance) checkDomains(ctx context.Context, e Expect) ([]Finding, error) {
	var out []Finding
	for _, d := range e.Domains {
		cure := fmt.Sprintf(setUp, d)
		class := ""
		for _, param := range []string{"relay_domains", "mydestination", "virtual_mailbox_domains", "virtual_alias_domains"} {
			in, err := p.holds(ctx, param, d)
			if err != nil {
				return nil, err
			}
			if in && class != "" {
				out = append(out, finding("Leave it in one of them.", "%s is in both %s and %s: Postfix takes the first, and warns at every mail.", d, class, param))
			} else if in {
				class = param
			}
		}
		switch class {
		case "":
			out = append(out, finding(cure, "There are lists in %s, which Postfix does not know as its own: mail to them is refused as relaying.", d))
			continue
		case "relay_domains":
			found, err := p.checkRelayed(ctx, d, e, cure)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		case "virtual_alias_domains":
			out = append(out, finding("Take it out of virtual_alias_domains, or rename the lists into a domain of their own.", "%s is in virtual_alias_domains, from where no mail reaches mlist.", d))
			continue
		default:
			found, err := p.checkShared(ctx, class, d, e, cure)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	delimiter, err := p.Param(ctx, "recipient_delimiter")
	if err == nil && !strings.Contains(delimiter, "+") && len(e.Domains) > 0 {
		out = append(out, finding("`postconf -e recipient_delimiter=+` and `postfix reload`.",
			"recipient_delimiter is %q: bounces and confirmations, which have a + in their address, are refused as unknown.", delimiter))
	}
	return out, err
}

// checkRelayed looks at a domain of lists alone.
func (p *Instance) checkRelayed(ctx context.Context, d string, e Expect, cure string) ([]Finding, error) {
	out, err := p.checkRoute(ctx, address.Address{Local: "mlist-nobody-bounces+nobody=example.com", Domain: d}, e, cure)
	if err != nil {
		return nil, err
	}
	maps, err := p.Param(ctx, "relay_recipient_maps")
	if err != nil {
		return nil, err
	}
	restrictions, err := p.Param(ctx, "smtpd_recipient_restrictions")
	if err != nil {
		return nil, err
	}
	if maps == "" && !strings.Contains(restrictions, "reject_unverified_recipient") {
		out = append(out, finding(cure, "relay_recipient_maps is empty, and nothing else asks whether a list exists: mail to unknown lists is taken, and bounced to people who often never wrote it."))
	}
	if maps == "" {
		return out, nil
	}
	found, err := p.checkKnown(ctx, "relay_recipient_maps", d, e, cure)
	return append(out, found...), err
}

// checkRoute wants mail for an address to come to mlist.
func (p *Instance) checkRoute(ctx context.Context, a address.Address, e Expect, cure string) ([]Finding, error) {
	hop, table, err := p.first(ctx, "transport_maps", strings.ToLower(a.String()), "")
	if hop == "" && err == nil && strings.Contains(a.Local, "+") {
		local, _, _ := strings.Cut(a.Local, "+")
		hop, table, err = p.first(ctx, "transport_maps", strings.ToLower(local)+"@"+a.Domain, "")
	}
	if hop == "" && err == nil {
		hop, table, err = p.first(ctx, "transport_maps", a.Domain, "")
	}
	if err != nil {
		return []Finding{finding("Its cause is in the error; until then Postfix defers all mail, not only that of lists.", "transport_maps cannot be asked where %s goes: %v.", a.Domain, err)}, nil
	}
	where, ours := strings.CutPrefix(hop, transportName+":")
	switch {
	case hop == "":
		return []Finding{finding(cure, "transport_maps does not send %s anywhere, and so not to mlist: list mail goes astray.", a)}, nil
	case !ours:
		return []Finding{finding(cure, "transport_maps sends %s to %q, by %s, not to mlist: list mail goes astray.", a, hop, table)}, nil
	case !slices.Contains(e.LMTP, where):
		return []Finding{finding(cure, "transport_maps sends %s to %s, by %s, but mlist listens at %s (lmtpd.listen): list mail is deferred.", a, where, table, strings.Join(e.LMTP, ", "))}, nil
	}
	return nil, nil
}

// checkKnown wants the lists of a domain to be among the recipients that a table has.
func (p *Instance) checkKnown(ctx context.Context, param, d string, e Expect, cure string) ([]Finding, error) {
	for _, l := range e.Samples {
		if l.Domain != d {
			continue
		}
		hit, table, err := p.first(ctx, param, strings.ToLower(l.String()), "")
		if err != nil && !strings.Contains(table, "socketmap:") {
			return []Finding{finding("Its cause is in the error.", "%s cannot be asked whether there is %s: mail to it is deferred: %v.", param, l, err)}, nil
		}
		if hit == "" && err == nil {
			return []Finding{finding(cure, "%s does not have the list %s: mail to it is refused as unknown.", param, l)}, nil
		}
	}
	return nil, nil
}

// checkShared looks at a domain that also has users.
func (p *Instance) checkShared(ctx context.Context, class, d string, e Expect, cure string) ([]Finding, error) {
	var out []Finding
	routed := false
	for _, l := range e.Samples {
		if l.Domain != d {
			continue
		}
		routed = true
		for _, role := range []string{"", "-bounces+nobody=example.com"} {
			found, err := p.checkRoute(ctx, address.Address{Local: l.Local + role, Domain: d}, e, cure)
			if err != nil || found != nil {
				return found, err
			}
		}
	}
	maps, err := p.Param(ctx, "transport_maps")
	if err != nil {
		return nil, err
	}
	if !routed && (e.Record == nil || !slices.Contains(e.Record.Tables.Shared, d)) && !strings.Contains(maps, "regexp:") {
		out = append(out, finding(cure, "%s is in %s and so has users; its lists are not routed to mlist one by one, and their mail goes to users who are not there.", d, class))
	}
	param := map[string]string{"mydestination": "local_recipient_maps", "virtual_mailbox_domains": "virtual_mailbox_maps"}[class]
	if value, err := p.Param(ctx, param); err != nil || value == "" { // every address is taken
		return out, err
	}
	found, err := p.checkKnown(ctx, param, d, e, cure)
	return append(out, found...), err
}

func (p *Instance) checkMilters(ctx context.Context, _ Expect) ([]Finding, error) {
	value, err := p.Param(ctx, "smtpd_milters")
	if err != nil {
		return nil, err
	}
	queue, err := p.Param(ctx, "queue_directory")
	if err != nil {
		return nil, err
	}
	chrooted, err := p.SMTPDChrooted(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, item := range split(value) {
		words := split(strings.Trim(item, "{} "))
		if len(words) == 0 || !strings.Contains(words[0], "mlist") {
			continue
		}
		path, ok := strings.CutPrefix(words[0], "unix:")
		if !ok {
			continue // who listens there is not to be known
		}
		switch {
		case !filepath.IsAbs(path):
			path = filepath.Join(queue, path)
		case chrooted:
			out = append(out, finding("`mlist postfix setup` names one in the queue directory.", "smtpd runs in a chroot, where there is no %s: the milter is never asked.", path))
			continue
		}
		found, err := p.reach(ctx, path, "the milter is never asked, and what it would refuse is taken")
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (p *Instance) checkSizes(ctx context.Context, e Expect) ([]Finding, error) {
	text, err := p.Param(ctx, "message_size_limit")
	if err != nil {
		return nil, err
	}
	limit, err := strconv.ParseInt(text, 10, 64)
	if err == nil && (limit > e.MaxMessageSize || limit == 0) {
		return []Finding{finding(fmt.Sprintf("`postconf -e message_size_limit=%d`, or raise lmtpd.max_message_size.", e.MaxMessageSize),
			"Postfix takes messages up to %d octets (message_size_limit), mlist up to %d (lmtpd.max_message_size): what is between is taken and then bounced.", limit, e.MaxMessageSize)}, nil
	}
	return nil, nil
}
