package main

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// databaseSlack is what the clocks of a host and of the database may differ by.
const databaseSlack = time.Minute

// databaseCure is what to do about what cannot be opened.
func databaseCure(url, key string) string {
	if strings.HasPrefix(url, "postgres") {
		return "PostgreSQL has to answer there (`systemctl status postgresql`), and let this user in (its pg_hba.conf); " + key + " in the configuration says where it is."
	}
	return key + " in the configuration says where it is; `journalctl -u mlist` tells more."
}

// sharedSpool looks at a spool in a database, and compares the clocks: leases go by the
// server's, but when a deferred message is tried again is said by one host and read by another.
func (p *patient) sharedSpool(ctx context.Context) {
	if _, local := spoolDir(p.cfg); local {
		return
	}
	sp, err := openSpool(ctx, p.cfg, slog.New(slog.DiscardHandler), false)
	if err != nil {
		p.add(databaseCure(p.cfg.Spool.URL, "spool.url"), "The spool cannot be opened: %s.", inOneLine(err.Error()))
		return
	}
	defer sp.Close()
	server, ok := sp.(interface {
		Now(ctx context.Context) (time.Time, error)
	})
	if !ok {
		return
	}
	now, err := server.Now(ctx)
	if err != nil {
		p.add("`systemctl status mlist` tells more.", "The spool cannot be read: %v.", err)
		return
	}
	if off := p.now.Sub(now); off.Abs() > databaseSlack {
		p.add("Have both kept right (chrony, systemd-timesyncd). Retries of deferred mail go by the hosts' clocks.",
			"The clock of this host and the database's differ by %s: it is %s here, and %s there.", off.Abs().Round(time.Second), moment(p.now), moment(now))
	}
}
