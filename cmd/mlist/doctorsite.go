package main

import (
	"context"
	"errors"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
)

// lists goes through the lists once. It tells of settings that an earlier version took and this
// one would not, and returns the lists' domains, as they come.
func (p *patient) lists(ctx context.Context) (domains []string) {
	if p.store == nil {
		return nil
	}
	seen := map[string]bool{}
	for l, err := range p.store.AllLists(ctx, "") {
		if err != nil {
			p.add("`mlist list ls` may say more.", "The lists cannot be read: %v.", err)
			return nil
		}
		if d := strings.ToLower(l.Address.Domain); !seen[d] {
			seen[d] = true
			domains = append(domains, d)
		}
		for _, wrong := range l.Settings.Refused() {
			p.add("`mlist list set "+l.Address.String()+" NAME=VALUE` sets it right. Until then what of it cannot be used is passed over.",
				"A setting of %s is one that this version would not take: %v.", l.Address, wrong)
		}
	}
	return domains
}

// siteAddress looks for lists that have the site's own address: they get the mail that is for it.
// None is made any more, but there may be one from before site_name was set.
func (p *patient) siteAddress(ctx context.Context, domains []string) {
	if p.cfg.SiteName == "" {
		return
	}
	for _, domain := range domains {
		own := address.Address{Local: p.cfg.SiteName, Domain: domain}
		switch other, err := p.store.List(ctx, own); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return
		default:
			p.add("`mlist list rename` gives the list another address, and `mlist list alias` takes the old one away; or choose another site_name.",
				"%s is the site's own address (site_name), and the list %s has it: commands to the site come to the list as posts.", own, other.Address)
		}
	}
}
