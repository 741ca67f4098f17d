package postfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Options say how mlist is to be wired to Postfix.
type Options struct {
	Domains  []string // of lists; Plan finds out which of them also have users
	LMTP     string   // where mlist takes mail: unix:/PATH or inet:HOST:PORT
	HandBack string   // HOST:PORT where it hands prepared mail back
	Live     string   // where it answers whether a list exists: unix:/PATH or inet:HOST:PORT; none when empty
	Milter   string   // where it says no, as smtpd_milters has it; none when empty
	Limit    int      // recipients of one transaction at the hand-back port
	Tables   Tables   // Type may be empty: Postfix's default
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
	if b.plan.Tables.Type == "" {
		if err := b.chooseType(); err != nil {
			return nil, err
		}
	}
	b.plan.Tables.NextHop = transportName + ":" + o.LMTP
	for _, d := range o.Domains {
		if err := b.domain(strings.ToLower(d)); err != nil {
			return nil, err
		}
	}
	steps := []func() error{
		b.route,
		func() error { return b.existence(o.Live) },
		b.delimiter,
		func() error { return b.milter(o.Milter) },
		b.patience,
		func() error {
			return b.service(transportName+"/unix", transportName+" unix - - n - 10 lmtp -o lmtp_data_done_timeout=60s -o lmtp_line_length_limit=0 flags=X",
				"the way in: Postfix hands list mail over here")
		},
		func() error { return b.handBack(o.HandBack, o.Limit) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.plan, nil
}

// transportName is the name of the service in master.cf.
const transportName = "mlist"

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
	return nil
}

// holds tells whether a domain is in a list parameter, which may name tables.
func (p *Instance) holds(ctx context.Context, param, domain string) (bool, error) {
	value, err := p.Param(ctx, param)
	if err != nil {
		return false, err
	}
	for _, item := range split(value) {
		if strings.EqualFold(item, domain) {
			return true, nil
		}
		if strings.Contains(item, ":") && !strings.HasPrefix(item, "{") {
			if found, err := p.lookup(ctx, item, domain); err != nil || found != "" {
				return err == nil, err
			}
		}
	}
	return false, nil
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
			if !routed {
				pairs = append(pairs, fmt.Sprintf("{%s=%s}", d, b.plan.Tables.NextHop))
			}
			domains = append(domains, d)
		}
		if err := b.add("relay_domains", domains, false, "mail for the lists' domain is taken"); err != nil {
			return err
		}
		if len(pairs) > 0 {
			items = append(items, "inline:{ "+strings.Join(pairs, ", ")+" }")
		}
	}
	if len(b.plan.Shared) > 0 {
		items = append(items, b.plan.Tables.Table(transport))
		b.note("A new list in %s works once Postfix has seen the new table, 10 seconds later at most.", strings.Join(b.plan.Shared, ", "))
	}
	return b.add("transport_maps", items, true, "list mail goes to mlist")
}

// routed tells whether a domain's mail goes to mlist already.
func (b *planner) routed(domain string) (bool, error) {
	value, err := b.p.Param(b.ctx, "transport_maps")
	if err != nil {
		return false, err
	}
	for _, table := range split(value) {
		hop, err := b.p.lookup(b.ctx, table, domain)
		if err != nil || hop != "" {
			return hop == b.plan.Tables.NextHop, err
		}
	}
	return false, nil
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
		if len(others) > 0 {
			items = append(items, "inline:{ "+strings.Join(others, ", ")+" }")
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
	if b.local {
		value, err := b.p.Param(b.ctx, "local_recipient_maps")
		if err != nil {
			return err
		}
		if value != "" { // empty: every address is taken as it is
			if err := b.add("local_recipient_maps", []string{table}, true, why); err != nil {
				return err
			}
		}
	}
	if b.virtual {
		return b.add("virtual_mailbox_maps", []string{table}, true, why)
	}
	return nil
}

// otherRelays are the other domains that Postfix relays for, as keys of a table, if it
// takes every address in them today: with a table of recipients it would refuse them all.
func (b *planner) otherRelays() ([]string, error) {
	maps, err := b.p.Param(b.ctx, "relay_recipient_maps")
	if err != nil || maps != "" {
		return nil, err
	}
	domains, err := b.p.Param(b.ctx, "relay_domains")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range split(domains) {
		if slices.Contains(b.dedicated, strings.ToLower(d)) {
			continue
		}
		if strings.ContainsAny(d, ":/{") {
			return nil, fmt.Errorf("relay_domains has %s, and relay_recipient_maps is empty: Postfix takes every address in those domains, and would refuse them all "+
				"with a table of mlist's alone. Give relay_recipient_maps a table for them first", d)
		}
		out = append(out, fmt.Sprintf("{@%s=any}", d))
	}
	if out != nil {
		b.note("Postfix takes every address in the other domains of relay_domains. That stays as it is; it bounces what it cannot deliver there.")
	}
	return out, nil
}

func (b *planner) delimiter() error {
	value, err := b.p.Param(b.ctx, "recipient_delimiter")
	if err != nil || strings.Contains(value, "+") {
		return err
	}
	return b.set("recipient_delimiter", value+"+", nil, "dev-bounces+ann=example.net is dev-bounces, with something behind it")
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
	item := "{ " + where + ", default_action=accept, connect_timeout=5s, command_timeout=10s, content_timeout=30s }"
	return b.add("smtpd_milters", []string{item}, false, "a post that its list would reject is refused while the sender is connected; a stopped mlist refuses nothing")
}

func (b *planner) patience() error {
	const name = transportName + "_destination_concurrency_failed_cohort_limit"
	value, _, err := b.p.raw(b.ctx, name)
	if err != nil || value != "" {
		return err
	}
	return b.set(name, "100", nil, "one list that answers 4xx is no reason to keep mail of the others waiting")
}

func (b *planner) handBack(hostPort string, limit int) error {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return fmt.Errorf("hand-back port %q: %w", hostPort, err)
	}
	ip := net.ParseIP(host)
	if ip == nil || !ip.IsLoopback() {
		b.note("Prepared mail goes to %s, which is not on this machine: what is needed there is in etc/postfix/master.cf.", hostPort)
		return nil
	}
	network := ip.String()
	if ip.To4() == nil {
		network = "[" + network + "]"
	}
	options := []string{
		handBackLog, "mynetworks=" + network, "smtpd_milters=", "smtpd_client_restrictions=", "smtpd_helo_restrictions=",
		"smtpd_sender_restrictions=", "smtpd_relay_restrictions=permit_mynetworks,reject", "smtpd_recipient_restrictions=",
		"smtpd_data_restrictions=", "smtpd_end_of_data_restrictions=", "smtpd_tls_security_level=none", fmt.Sprintf("smtpd_recipient_limit=%d", limit), "smtpd_hard_error_limit=1000",
		"smtpd_error_sleep_time=0", "smtpd_authorized_verp_clients=" + network, "smtpd_client_event_limit_exceptions=" + network, "message_size_limit=0",
		"receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters", "local_header_rewrite_clients=",
	}
	return b.service(hostPort+"/inet", hostPort+" inet n - n - - smtpd -o "+strings.Join(options, " -o "),
		"the way back: prepared mail comes in here, from this machine only, and is not checked again")
}

// service wants an entry of master.cf. One that is there and is ours stays as it is.
func (b *planner) service(name, entry, why string) error {
	have, err := b.p.service(b.ctx, name)
	if err != nil || have == entry {
		return err
	}
	if have != "" {
		if !strings.HasPrefix(name, transportName+"/") && !strings.Contains(have, handBackLog) {
			return fmt.Errorf("master.cf has %s already, for something else (%.60s): choose another port in mlist.toml (outbound.mta), and run this again", name, have)
		}
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
	value = strings.Join(strings.Fields(value), " ")
	after := strings.Join(missing, ", ")
	switch {
	case value != "" && front:
		after += ", " + value
	case value != "":
		after = value + ", " + after
	}
	return b.set(name, after, missing, why)
}

// canonical is an item without the blanks that mean nothing.
func canonical(item string) string { return strings.Join(strings.Fields(item), "") }

func (b *planner) set(name, after string, added []string, why string) error {
	before, set, err := b.p.raw(b.ctx, name)
	if err != nil {
		return err
	}
	b.plan.Changes = append(b.plan.Changes, Change{Name: name, Before: before, Set: set, After: after, Added: added, Why: why})
	return nil
}

func (b *planner) note(format string, args ...any) {
	b.plan.Notes = append(b.plan.Notes, fmt.Sprintf(format, args...))
}

// errNothing says that there is nothing to take back.
var errNothing = errors.New("nothing was set up by mlist, as far as it has written down")
