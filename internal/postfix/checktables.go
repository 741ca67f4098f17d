package postfix

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func (p *Instance) checkTables(ctx context.Context, e Expect) ([]Finding, error) {
	if e.Record == nil {
		return nil, nil
	}
	t := e.Record.Tables
	var out []Finding
	have, err := p.run(ctx, "postconf", "-m")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(strings.Fields(have), t.Type) {
		return []Finding{finding("Install that type (on Debian the package postfix-"+t.Type+"), or `mlist postfix setup --undo` and then setup anew.",
			"mlist's tables are of the type %s, which this Postfix no longer has: mail to lists is deferred, and so may be all other mail.", t.Type)}, nil
	}
	for _, name := range t.names() {
		if !t.made(name) {
			out = append(out, finding("`mlist postfix tables` writes it.", "Postfix's table %s is missing or half made.", t.Table(name)))
		}
	}
	for _, name := range append(t.names(), "") {
		path := filepath.Join(t.Dir, name)
		for _, path := range []string{path, path + t.suffix(name)} {
			if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o022 != 0 {
				out = append(out, finding("`chmod go-w "+path+"`, and look at what it says: `mlist postfix tables` writes it anew.", "Others than mlist may write %s (%v), and so decide where this machine's mail goes.", path, info.Mode()))
				break
			}
		}
	}
	known, err := p.Param(ctx, "relay_recipient_maps")
	if err != nil {
		return nil, err
	}
	if out != nil || strings.Contains(known, "socketmap:") { // which answers for lists that are too new
		return out, nil
	}
	for _, l := range e.Samples {
		if hit, err := p.lookup(ctx, t.Table(recipients), strings.ToLower(l.String())); err != nil || hit == "" {
			out = append(out, finding("`mlist postfix tables` writes it; `systemctl restart mlist` if it does not stay so.", "The list %s is not in Postfix's table %s: mail to it is refused as unknown.", l, t.Table(recipients)))
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
	if len(e.Samples) > 0 {
		key = strings.ToLower(e.Samples[0].String())
	}
	hit, err := p.lookup(ctx, item, key)
	switch {
	case err != nil:
		return []Finding{finding("`systemctl start mlist`; socketmap.listen in mlist.toml has the address.", "Nobody answers at %s, where Postfix asks for lists that its tables do not have: %s.", where, effect)}, nil
	case hit == "" && len(e.Samples) > 0:
		return []Finding{finding("socketmap.listen in mlist.toml has the address of the one that is meant.", "Who answers at %s does not know the list %s: that is another mlist.", where, key)}, nil
	}
	return nil, nil
}
