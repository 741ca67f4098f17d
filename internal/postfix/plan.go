package postfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Options say how mlist is to be wired to Postfix.
type Options struct {
	Domains  []string // of lists, as address.ParseDomain has them; Plan finds out which of them also have users
	LMTP     string   // where mlist takes mail: unix:/PATH or inet:HOST:PORT
	HandBack string   // HOST:PORT where it hands prepared mail back
	Live     string   // where it answers whether a list exists: unix:/PATH or inet:HOST:PORT; none when empty
	Milter   string   // where it says no, as smtpd_milters has it; none when empty
	Limit    int      // recipients of one transaction at the hand-back port
	Tables   Tables   // what there is already; of new ones the Dir is enough
}

// Change is one difference to Postfix's configuration.
type Change struct {
	Service bool   `json:"service,omitempty"` // an entry of master.cf, else a parameter of main.cf
	Name    string `json:"name"`              // transport_maps, or mlist/unix
	Before  string `json:"before"`
	Set     bool   `json:"set"` // whether main.cf or master.cf had it
	After   string `json:"after"`
	// Added are the items that a list got: undoing takes them out of whatever the list is then.
	Added []string `json:"added,omitempty"`
	Front bool     `json:"front,omitempty"` // they stand before what was there
	Why   string   `json:"why"`
}

// Plan is what has to be changed, in order; nothing when all is there already.
type Plan struct {
	Changes []Change
	Tables  Tables
	Shared  []string // of the domains, those that also have users
	Notes   []string // what an administrator should know before
}

// Plan finds out what mlist needs that is not there. It changes nothing.
func (p *Instance) Plan(ctx context.Context, o Options) (*Plan, error) {
	b := &planner{p: p, ctx: ctx, plan: &Plan{Tables: o.Tables}}
	if err := b.chooseType(); err != nil {
		return nil, err
	}
	b.plan.Tables.NextHop = transportName + ":" + o.LMTP
	if len(o.Domains) == 0 {
		return nil, errors.New("no domain of lists is named")
	}
	for _, d := range o.Domains {
		if err := b.domain(d); err != nil {
			return nil, err
		}
	}
	steps := []func() error{
		b.route,
		func() error { return b.existence(o.Live) },
		b.aliases,
		b.delimiter,
		func() error { return b.milter(o.Milter) },
		b.patience,
		func() error { return b.wayIn(o.LMTP) },
		func() error { return b.handBack(o.HandBack, o.Limit) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	b.plan.Tables = b.plan.Tables.with(o.Tables)
	return b.plan, nil
}

// transportName is the name of the service in master.cf.
const transportName = "mlist"

// cleanup is the service that takes prepared mail into the queue.
const cleanup = transportName + "-cleanup"

// handBackLog is the option by which the entry of the hand-back port is known.
const handBackLog = "syslog_name=postfix/mlist"

type planner struct {
	p         *Instance
	ctx       context.Context
	plan      *Plan
	dedicated []string // domains of lists alone
	local     bool     // a shared domain is in mydestination
	virtual   bool     // a shared domain is in virtual_mailbox_domains
}

func (b *planner) chooseType() error {
	def, err := b.p.Param(b.ctx, "default_database_type")
	if err != nil {
		return err
	}
	have, err := b.p.run(b.ctx, "postconf", "-m")
	if err != nil {
		return err
	}
	types := strings.Fields(have)
	if t := b.plan.Tables.Type; t != "" {
		if !slices.Contains(types, t) {
			return fmt.Errorf("mlist's tables are of the type %s, which this Postfix no longer has: `mlist postfix setup --undo`, and then this again", t)
		}
		return nil
	}
	for _, t := range []string{def, "lmdb", "hash", "cdb"} {
		if slices.Contains(types, t) && slices.Contains([]string{"lmdb", "hash", "cdb"}, t) {
			b.plan.Tables.Type = t
			return nil
		}
	}
	return fmt.Errorf("this Postfix has none of the table types lmdb, hash and cdb, only %s: install one, such as Debian's postfix-lmdb", strings.Join(types, ", "))
}

// domain finds out whose a domain is.
func (b *planner) domain(d string) error {
	for _, class := range []struct {
		param string
		found func()
	}{
		{"mydestination", func() { b.local = true }},
		{"virtual_mailbox_domains", func() { b.virtual = true }},
	} {
		in, err := b.p.holds(b.ctx, class.param, d)
		if err != nil {
			return err
		}
		if in {
			class.found()
			b.plan.Shared = append(b.plan.Shared, d)
			b.plan.Tables.Shared = append(b.plan.Tables.Shared, d)
			return nil
		}
	}
	if in, err := b.p.holds(b.ctx, "virtual_alias_domains", d); err != nil {
		return err
	} else if in {
		return fmt.Errorf("%s is in virtual_alias_domains, where mail only goes on to other domains: take it out there, or give the lists a domain of their own", d)
	}
	b.dedicated = append(b.dedicated, d)
	b.plan.Tables.Dedicated = append(b.plan.Tables.Dedicated, d)
	return nil
}

func (b *planner) route() error {
	var items []string
	if len(b.dedicated) > 0 {
		var domains, pairs []string
		for _, d := range b.dedicated {
			routed, err := b.routed(d)
			if err != nil {
				return err
			}
			known, err := b.p.holds(b.ctx, "relay_domains", d)
			if err != nil {
				return err
			}
			for _, d := range spellings(d) {
				if !routed {
					pairs = append(pairs, fmt.Sprintf("{%s=%s}", d, b.plan.Tables.NextHop))
				}
				if !known {
					domains = append(domains, d)
				}
			}
		}
		if err := b.add("relay_domains", domains, false, "mail for the lists' domain is taken"); err != nil {
			return err
		}
		if len(pairs) > 0 {
			items = append(items, "inline:{ "+strings.Join(pairs, ", ")+" }")
		}
		for _, d := range b.dedicated {
			table, err := b.p.swallower(b.ctx, d, b.plan.Tables.Dir)
			if err != nil {
				return err
			}
			if table != "" {
				b.plan.Tables.Routed = append(b.plan.Tables.Routed, d)
				b.note("%s has a next hop for all addresses in %s, which would win over one for the domain: mlist's stands before it, by regular expression.", table, d)
			}
		}
		if len(b.plan.Tables.Routed) > 0 {
			items = append(items, b.plan.Tables.Table(routes))
		}
	}
	if len(b.plan.Shared) > 0 {
		items = append(items, b.plan.Tables.Table(transport))
		for _, d := range b.plan.Shared {
			table, err := b.p.swallower(b.ctx, d, b.plan.Tables.Dir)
			if err != nil {
				return err
			}
			if table != "" {
				b.note("%s has a next hop for all addresses in %s, and so for those of bounces and confirmations, which have a + in them: have it leave out -bounces+ and -confirm+.", table, d)
			}
		}
		b.note("A new list in %s works once Postfix has seen the new table, 10 seconds later at most.", strings.Join(b.plan.Shared, ", "))
	}
	return b.add("transport_maps", items, true, "list mail goes to mlist")
}

// routed tells whether a domain's mail goes to mlist already.
func (b *planner) routed(domain string) (bool, error) {
	for _, d := range spellings(domain) {
		hop, _, err := b.p.first(b.ctx, "transport_maps", d, b.plan.Tables.Dir)
		if err != nil || hop != b.plan.Tables.NextHop {
			return false, err
		}
	}
	return true, nil
}

// liveTable is mlist's socketmap as a look-up table. By proxymap, for smtpd may be in a chroot.
func liveTable(where string) string { return "proxy:socketmap:" + where + ":" + recipients }

func (b *planner) existence(live string) error {
	table := b.plan.Tables.Table(recipients)
	const why = "unknown lists are refused at RCPT; mlist writes this table at every change of its lists"
	if len(b.dedicated) > 0 {
		items := []string{table}
		others, err := b.otherRelays()
		if err != nil {
			return err
		}
		if others { // before mlist's own, of which they are independent then
			b.plan.Tables.Others = true
			items = []string{b.plan.Tables.Table(elsewhere), table}
		}
		if live != "" { // last: Postfix asks only for what nothing before it has
			items = append(items, liveTable(live))
			b.note("Addresses that no table has are asked of mlist. While it is stopped they are put off (451) and not refused; known lists, and all other mail, go on.")
		}
		if err := b.add("relay_recipient_maps", items, false, why); err != nil {
			return err
		}
	}
	if live != "" && len(b.plan.Shared) > 0 {
		b.note("Lists in %s are in the tables alone: Postfix must know where their mail goes, too, and asking mlist for that would have all of this machine's mail wait for it.",
			strings.Join(b.plan.Shared, ", "))
	}
	for _, class := range []struct {
		shared bool
		param  string
	}{{b.local, "local_recipient_maps"}, {b.virtual, "virtual_mailbox_maps"}} {
		if !class.shared {
			continue
		}
		value, err := b.p.Param(b.ctx, class.param)
		if err != nil {
			return err
		}
		if value == "" { // a table of lists alone would have every user refused
			b.note("%s is empty: Postfix takes every address in %s, and bounces what it cannot deliver. That stays as it is; lists need nothing there.", class.param, strings.Join(b.plan.Shared, ", "))
			continue
		}
		// Behind what is there, which then needs no table of mlist's for users.
		if err := b.add(class.param, []string{table}, false, why); err != nil {
			return err
		}
	}
	return nil
}

// otherRelays tells whether Postfix relays for other domains, too, and takes every address in
// them today: with a table of lists alone it would refuse them all.
func (b *planner) otherRelays() (bool, error) {
	maps, err := b.p.Param(b.ctx, "relay_recipient_maps")
	if err != nil || maps != "" {
		return false, err
	}
	value, err := b.p.Param(b.ctx, "relay_domains")
	if err != nil {
		return false, err
	}
	for _, d := range split(value) {
		if slices.ContainsFunc(b.dedicated, func(own string) bool { return strings.EqualFold(own, d) }) {
			continue
		}
		if strings.HasPrefix(d, "!") {
			continue
		}
		if !strings.ContainsAny(d, ":/") {
			if own, err := b.p.holds(b.ctx, "mydestination", d); err != nil {
				return false, err
			} else if own {
				continue // not relayed
			}
		}
		b.note("Postfix takes every address in the other domains of relay_domains. That stays as it is; it bounces what it cannot deliver there.")
		return true, nil
	}
	return false, nil
}

// aliases has the addresses that every domain must have (RFC 5321 4.5.1, RFC 2142) go to the
// machine's postmaster, and lists win over a catch-all.
func (b *planner) aliases() error {
	origin, err := b.p.origin(b.ctx)
	if err != nil {
		return err
	}
	var pairs []string
	for _, d := range b.dedicated {
		if strings.EqualFold(origin, d) {
			b.note("%s is this machine's own domain (myorigin), and of lists alone: nobody takes mail for postmaster@%s. Have it be an alias, in virtual_alias_maps.", d, d)
			continue
		}
		for _, name := range []string{"postmaster", "abuse"} {
			if hit, _, err := b.p.first(b.ctx, "virtual_alias_maps", name+"@"+d, b.plan.Tables.Dir); err != nil {
				return err
			} else if hit != "" {
				continue
			}
			for _, d := range spellings(d) {
				pairs = append(pairs, fmt.Sprintf("{%s@%s=postmaster}", name, d))
			}
		}
	}
	if len(pairs) > 0 {
		if err := b.add("virtual_alias_maps", []string{"inline:{ " + strings.Join(pairs, ", ") + " }"}, false,
			"every domain must have a postmaster: this machine's"); err != nil {
			return err
		}
	}
	for _, d := range b.plan.Shared {
		if hit, _, err := b.p.first(b.ctx, "virtual_alias_maps", "@"+d, b.plan.Tables.Dir); err != nil {
			return err
		} else if hit == "" {
			continue
		}
		return b.add("virtual_alias_maps", []string{b.plan.Tables.Table(recipients)}, true, "lists are not swallowed by the catch-all of "+d)
	}
	return nil
}

// origin is the domain of addresses that have none.
func (p *Instance) origin(ctx context.Context) (string, error) {
	value, err := p.Param(ctx, "myorigin")
	if err != nil || !strings.HasPrefix(value, "/") {
		return value, err
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return "", fmt.Errorf("myorigin: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(first), nil
}

func (b *planner) delimiter() error {
	value, err := b.p.Param(b.ctx, "recipient_delimiter")
	if err != nil || strings.Contains(value, "+") {
		return err
	}
	return b.set(Change{Name: "recipient_delimiter", After: value + "+", Why: "dev-bounces+ann=example.net is dev-bounces, with something behind it"})
}

func (b *planner) milter(where string) error {
	if where == "" {
		return nil
	}
	value, err := b.p.Param(b.ctx, "smtpd_milters")
	if err != nil {
		return err
	}
	for _, item := range split(value) {
		if have := split(strings.Trim(item, "{} ")); len(have) > 0 && have[0] == where {
			return nil
		}
	}
	item := "{ " + where + ", protocol=6, default_action=accept, connect_timeout=5s, command_timeout=10s, content_timeout=30s }"
	return b.add("smtpd_milters", []string{item}, false, "a post that its list would reject is refused while the sender is connected; a stopped mlist refuses nothing")
}

func (b *planner) patience() error {
	const name = transportName + "_destination_concurrency_failed_cohort_limit"
	value, _, err := b.p.raw(b.ctx, name)
	if err != nil || value != "" {
		return err
	}
	return b.set(Change{Name: name, After: "100", Why: "one list that answers 4xx is no reason to keep mail of the others waiting"})
}

// wayIn wants the service that hands list mail over.
func (b *planner) wayIn(lmtp string) error {
	if hostPort, ok := strings.CutPrefix(lmtp, "inet:"); ok {
		if host, _, err := net.SplitHostPort(hostPort); err == nil {
			if err := b.family(host, "lmtpd.listen", "reach mlist"); err != nil {
				return err
			}
		}
	}
	const name = transportName + "/unix"
	have, err := b.p.service(b.ctx, name)
	if err != nil {
		return err
	}
	if f := strings.Fields(have); len(f) > 7 && f[7] != "lmtp" {
		return fmt.Errorf("master.cf has a service %s already, for something else (%.60s): give that another name, there and in transport_maps, and run this again", transportName, have)
	}
	return b.service(name, transportName+" unix - - n - 10 lmtp -o lmtp_data_done_timeout=60s -o lmtp_line_length_limit=0 flags=X",
		"the way in: Postfix hands list mail over here")
}

// family wants Postfix to speak the protocol of an address.
func (b *planner) family(host, key, what string) error {
	value, err := b.p.Param(b.ctx, "inet_protocols")
	if err != nil {
		return err
	}
	ip := net.ParseIP(host)
	protocols := split(value)
	if ip == nil || slices.Contains(protocols, "all") {
		return nil
	}
	need, other := "ipv4", "[::1]"
	if ip.To4() == nil {
		need, other = "ipv6", "127.0.0.1"
	}
	if slices.Contains(protocols, need) {
		return nil
	}
	return fmt.Errorf("inet_protocols = %s: with the address %s Postfix could not %s, and might not even start; have %s in mlist.toml name %s in its place, `systemctl reload mlist`, and run this again", value, host, what, key, other)
}

// handBack wants the port where prepared mail comes in.
func (b *planner) handBack(hostPort string, limit int) error {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return fmt.Errorf("hand-back port %q: %w", hostPort, err)
	}
	var network string
	switch ip := net.ParseIP(host); {
	case strings.EqualFold(host, "localhost"):
		network = "127.0.0.0/8,[::1]"
	case ip == nil || !ip.IsLoopback():
		b.note("Prepared mail goes to %s, which is not on this machine: what is needed there is in etc/postfix/master.cf.", hostPort)
		return nil
	case ip.To4() == nil:
		network = "[" + ip.String() + "]"
	default:
		network = ip.String()
	}
	if err := b.family(host, "outbound.mta", "listen there"); err != nil {
		return err
	}
	name := hostPort + "/inet"
	if have, err := b.p.service(b.ctx, name); err != nil {
		return err
	} else if have == "" {
		if err := b.free(host, port); err != nil {
			return err
		}
	} else if !strings.Contains(have, handBackLog) {
		return portTaken(hostPort, fmt.Sprintf("master.cf has it already, for something else (%.60s)", have))
	}
	options := []string{
		handBackLog, "mynetworks=" + network, "smtpd_milters=", "content_filter=", "smtpd_proxy_filter=", "smtpd_client_restrictions=", "smtpd_helo_restrictions=",
		"smtpd_sender_restrictions=", "smtpd_relay_restrictions=permit_mynetworks,reject", "smtpd_recipient_restrictions=",
		"smtpd_data_restrictions=", "smtpd_end_of_data_restrictions=", "smtpd_reject_unlisted_sender=no", "smtpd_tls_security_level=none", fmt.Sprintf("smtpd_recipient_limit=%d", limit), "smtpd_hard_error_limit=1000",
		"smtpd_error_sleep_time=0", "smtpd_authorized_verp_clients=" + network, "smtpd_client_event_limit_exceptions=" + network, "message_size_limit=0", "cleanup_service_name=" + cleanup,
		"receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters", "local_header_rewrite_clients=",
	}
	if err := b.service(name, hostPort+" inet n - n - - smtpd -o "+strings.Join(options, " -o "),
		"the way back: prepared mail comes in here, from this machine only, and is not checked again"); err != nil {
		return err
	}
	return b.service(cleanup+"/unix", cleanup+" unix n - n - 0 cleanup -o message_size_limit=0 -o masquerade_domains= -o sender_canonical_maps=",
		"prepared mail is somewhat larger than the post that was taken, and its return path stays as it is")
}

func portTaken(hostPort, why string) error {
	return fmt.Errorf("%s is no port for prepared mail: %s; choose another port in mlist.toml (outbound.mta), and run this again", hostPort, why)
}

// free wants a port that nobody has: Postfix ends when it is to listen at one that is taken.
func (b *planner) free(host, port string) error {
	hostPort := net.JoinHostPort(host, port)
	if taken, err := b.p.listener(b.ctx, hostPort); err != nil {
		return err
	} else if taken != nil {
		return portTaken(hostPort, fmt.Sprintf("master.cf has %s already (%.60s)", taken[0], strings.Join(taken, " ")))
	}
	l, err := net.Listen("tcp", hostPort)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return portTaken(hostPort, "another program listens there")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return portTaken(hostPort, "this machine has no such address")
	case err != nil:
		return nil // not ours to open, as a port below 1024 may be
	}
	return l.Close()
}

// service wants an entry of master.cf. One that is there stays as it is.
func (b *planner) service(name, entry, why string) error {
	have, err := b.p.service(b.ctx, name)
	if err != nil || have == entry {
		return err
	}
	if have != "" {
		b.note("master.cf has %s already, somewhat different from what this would write. It stays as it is.", name)
		return nil
	}
	b.plan.Changes = append(b.plan.Changes, Change{Service: true, Name: name, After: entry, Why: why})
	return nil
}

// add wants items in a list parameter.
func (b *planner) add(name string, items []string, front bool, why string) error {
	effective, err := b.p.Param(b.ctx, name)
	if err != nil {
		return err
	}
	have := split(effective)
	var missing []string
	for _, item := range items {
		if !slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(canonical(h), canonical(item)) }) {
			missing = append(missing, item)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	// What stands in main.cf, or the default, unexpanded: $alias_maps stays that.
	value, err := b.p.run(b.ctx, "postconf", "-h", name)
	if err != nil {
		return err
	}
	value = oneLine(value)
	if effective == "" {
		value = "" // a default that says so at length
	}
	after := strings.Join(missing, ", ")
	switch {
	case value != "" && front:
		after += ", " + value
	case value != "":
		after = value + ", " + after
	}
	return b.set(Change{Name: name, After: after, Added: missing, Front: front, Why: why})
}

// canonical is an item without the blanks that mean nothing.
func canonical(item string) string { return strings.Join(strings.Fields(item), "") }

func (b *planner) set(c Change) (err error) {
	if c.Before, c.Set, err = b.p.raw(b.ctx, c.Name); err != nil {
		return err
	}
	b.plan.Changes = append(b.plan.Changes, c)
	return nil
}

func (b *planner) note(format string, args ...any) {
	b.plan.Notes = append(b.plan.Notes, fmt.Sprintf(format, args...))
}

// errNothing says that there is nothing to take back.
var errNothing = errors.New("nothing was set up by mlist, as far as it has written down")
