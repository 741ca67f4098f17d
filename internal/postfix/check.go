package postfix

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

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
	LMTP           string   // as Options has it
	HandBack       string   // HOST:PORT, or "" where it is something else
	MaxMessageSize int64
	Record         *Record // nil: nothing was set up by mlist
	Sample         address.Address
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
		// What is written there twice, or for nobody, is for its administrator to know.
		if !strings.Contains(line, "unused parameter") && !strings.Contains(line, "overriding earlier entry") || strings.Contains(line, transportName) {
			out = append(out, finding("Correct what it names in "+p.Dir+".", "Postfix warns of its own configuration: %s.", line))
		}
	}
	for _, look := range []func(context.Context, Expect) ([]Finding, error){p.checkWayIn, p.checkDomains, p.checkTables, p.checkLive, p.checkWayBack, p.checkMilters, p.checkSizes} {
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
	path, ok := strings.CutPrefix(e.LMTP, "unix:")
	if !ok {
		return checkPort(ctx, strings.TrimPrefix(e.LMTP, "inet:"))
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

// checkPort tells whether anybody listens where Postfix hands mail over by TCP.
func checkPort(ctx context.Context, address string) ([]Finding, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return []Finding{finding("Start mlist: `systemctl start mlist`; `mlist config` shows where it listens.", "Nobody answers at %s (lmtpd.listen): all list mail is deferred.", address)}, nil
	}
	return nil, c.Close()
}

// reach tells whether Postfix's user can connect to a socket, going by permissions.
func (p *Instance) reach(ctx context.Context, path, what string) ([]Finding, error) {
	name, err := p.Param(ctx, "mail_owner")
	if err != nil {
		return nil, err
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			if at == path {
				return []Finding{finding("Start mlist: `systemctl start mlist`; `mlist config` shows where it listens.", "There is no socket at %s: %s.", path, what)}, nil
			}
			return nil, err
		}
		need := fs.FileMode(0o1) // to search
		if at == path {
			need = 0o2 // to connect
		}
		if !may(info, u.Uid, groups, need) {
			return []Finding{finding(fmt.Sprintf("Put %s into the group of mlist (`usermod -aG mlist %s`), and `postfix reload`.", name, name),
				"Postfix's user %s may not reach %s, because of the permissions of %s (%v): %s.", name, path, at, info.Mode(), what)}, nil
		}
		if at == "/" {
			return nil, nil
		}
	}
}

// may tells whether a user may do with a file what the bits (of others) say.
func may(info fs.FileInfo, uid string, groups []string, bits fs.FileMode) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case strconv.Itoa(int(st.Uid)) == uid:
		return mode>>6&bits == bits
	case slices.Contains(groups, strconv.Itoa(int(st.Gid))):
		return mode>>3&bits == bits
	}
	return mode&bits == bits
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
			found, err := p.checkRelayed(ctx, d, cure)
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

func (p *Instance) checkRelayed(ctx context.Context, d, cure string) ([]Finding, error) {
	hop, _, err := p.first(ctx, "transport_maps", d, "")
	if err != nil {
		return nil, err
	}
	var out []Finding
	if !strings.HasPrefix(hop, transportName+":") {
		out = append(out, finding(cure, "transport_maps sends %s to %q, not to mlist: list mail goes astray.", d, hop))
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
	return out, nil
}

func (p *Instance) checkShared(ctx context.Context, class, d string, e Expect, cure string) ([]Finding, error) {
	if e.Record == nil || !slices.Contains(e.Record.Tables.Shared, d) {
		maps, err := p.Param(ctx, "transport_maps")
		if err == nil && !strings.Contains(maps, "regexp:") {
			return []Finding{finding(cure, "%s is in %s and so has users; its lists are not routed to mlist one by one, and their mail goes to users who are not there.", d, class)}, nil
		}
		return nil, err
	}
	aliases, err := p.Param(ctx, "virtual_alias_maps")
	if err != nil {
		return nil, err
	}
	for _, table := range split(aliases) {
		if hit, err := p.lookup(ctx, table, "@"+d); err == nil && hit != "" {
			return []Finding{finding("Put each list's addresses into that table, too, as themselves; or take the catch-all out.",
				"%s has a catch-all for @%s, which swallows the lists' mail before it comes to mlist.", table, d)}, nil
		}
	}
	return nil, nil
}

func (p *Instance) checkTables(ctx context.Context, e Expect) ([]Finding, error) {
	if e.Record == nil {
		return nil, nil
	}
	t := e.Record.Tables
	var out []Finding
	for _, name := range t.names() {
		if !t.made(name) {
			out = append(out, finding("`mlist postfix tables` writes it.", "Postfix's table %s is missing or half made.", t.Table(name)))
		}
	}
	known, err := p.Param(ctx, "relay_recipient_maps")
	if err != nil {
		return nil, err
	}
	if e.Sample.Local != "" && out == nil && !strings.Contains(known, "socketmap:") { // which answers for lists that are too new
		if hit, err := p.lookup(ctx, t.Table(recipients), strings.ToLower(e.Sample.String())); err != nil || hit == "" {
			out = append(out, finding("`mlist postfix tables` writes it; `systemctl restart mlist` if it does not stay so.", "The list %s is not in Postfix's table %s: mail to it is refused as unknown.", e.Sample, t.Table(recipients)))
		}
	}
	return out, nil
}

// checkLive looks at the tables that are mlist itself, by socketmap.
func (p *Instance) checkLive(ctx context.Context, e Expect) ([]Finding, error) {
	var out []Finding
	for _, param := range []string{"transport_maps", "relay_recipient_maps", "local_recipient_maps", "virtual_mailbox_maps"} {
		value, err := p.Param(ctx, param)
		if err != nil {
			return nil, err
		}
		for _, item := range split(value) {
			item = strings.TrimPrefix(item, "proxy:")
			where, ok := strings.CutPrefix(item, "socketmap:")
			if !ok || !strings.HasSuffix(where, ":"+recipients) {
				continue
			}
			where = strings.TrimSuffix(where, ":"+recipients)
			if param == "transport_maps" {
				out = append(out, finding("Take it out: `mlist postfix setup` puts a table there that is a file.",
					"transport_maps asks mlist (%s), for every mail: while mlist is stopped all mail of this machine waits, and not the lists' alone.", item))
				continue
			}
			found, err := p.checkAnswer(ctx, e, param, item, where)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// checkAnswer asks a live table for a list.
func (p *Instance) checkAnswer(ctx context.Context, e Expect, param, item, where string) ([]Finding, error) {
	effect := "unknown addresses in " + strings.Join(e.Domains, ", ")
	if param == "relay_recipient_maps" {
		domains, err := p.Param(ctx, "relay_domains")
		if err != nil {
			return nil, err
		}
		effect = "unknown addresses in the domains of relay_domains (" + strings.Join(split(domains), ", ") + ")"
	}
	effect += " are put off (451) and not refused, and so are lists that another machine has made just now; known lists, and mail to all other addresses, go on"
	if path, ok := strings.CutPrefix(where, "unix:"); ok {
		if found, err := p.reach(ctx, path, effect); err != nil || found != nil {
			return found, err
		}
	}
	key := "postmaster@localhost"
	if e.Sample.Local != "" {
		key = strings.ToLower(e.Sample.String())
	}
	hit, err := p.lookup(ctx, item, key)
	switch {
	case err != nil:
		return []Finding{finding("`systemctl start mlist`; socketmap.listen in mlist.toml has the address.", "Nobody answers at %s, where Postfix asks for lists that its tables do not have: %s.", where, effect)}, nil
	case hit == "" && e.Sample.Local != "":
		return []Finding{finding("socketmap.listen in mlist.toml has the address of the one that is meant.", "Who answers at %s does not know the list %s: that is another mlist.", where, e.Sample)}, nil
	}
	return nil, nil
}

func (p *Instance) checkWayBack(ctx context.Context, e Expect) ([]Finding, error) {
	if e.HandBack == "" {
		return nil, nil // not a TCP port
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", e.HandBack)
	if err != nil {
		first := "DOMAIN"
		if len(e.Domains) > 0 {
			first = e.Domains[0]
		}
		return []Finding{finding(fmt.Sprintf(setUp, first)+" If it is there, start Postfix: `postfix start`.",
			"Nobody answers at %s, the hand-back port (outbound.mta): prepared mail waits in outgoing, and no member gets any.", e.HandBack)}, nil
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	offered, err := offers(c)
	switch {
	case err != nil:
		return []Finding{finding("outbound.mta names the MTA's port that takes prepared mail.", "What answers at %s, the hand-back port (outbound.mta), is no SMTP server that takes mail: %v.", e.HandBack, err)}, nil
	case !slices.Contains(offered, "XVERP"):
		return []Finding{finding("Put `-o smtpd_authorized_verp_clients=127.0.0.0/8` below "+e.HandBack+" in master.cf, and `postfix reload`.",
			"Postfix does not offer XVERP at %s, the hand-back port: where each member has a return path of their own, each costs a whole message.", e.HandBack)}, nil
	}
	return nil, nil
}

// offers is what an SMTP server says that it can do, in capitals.
func offers(c net.Conn) ([]string, error) {
	text := textproto.NewConn(c)
	if _, _, err := text.ReadResponse(220); err != nil {
		return nil, err
	}
	if err := text.PrintfLine("EHLO localhost"); err != nil {
		return nil, err
	}
	_, said, err := text.ReadResponse(250)
	if err != nil {
		return nil, err
	}
	_ = text.PrintfLine("QUIT")
	var out []string
	for line := range strings.Lines(said) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		out = append(out, strings.ToUpper(word))
	}
	return out, nil
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
			continue
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
