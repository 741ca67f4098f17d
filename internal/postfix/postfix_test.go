package postfix

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/address"
)

// instance is a configuration that no Postfix runs on: postconf and postmap are enough.
func instance(t *testing.T, mainCF, masterCF string) *Instance {
	t.Helper()
	if _, err := exec.LookPath("postconf"); err != nil {
		if _, err := os.Stat("/usr/sbin/postconf"); err != nil {
			t.Skip("no Postfix here")
		}
	}
	dir := t.TempDir()
	mainCF = "compatibility_level = 3.6\nconfig_directory = " + dir + "\nqueue_directory = /var/spool/postfix\n" + mainCF
	for name, text := range map[string]string{"main.cf": mainCF, "master.cf": "smtp inet n - y - - smtpd\n" + masterCF} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Find(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	return p
}

// settle has Postfix trust a file that was changed this second.
func (p *Instance) settle(t *testing.T) {
	t.Helper()
	p.params = nil
	for _, name := range []string{"main.cf", "master.cf"} {
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(p.Dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func options(t *testing.T, domains ...string) Options {
	return Options{Domains: domains, LMTP: "unix:/run/mlist/lmtp.sock", HandBack: "127.0.0.1:10025", Milter: "unix:mlist/milter.sock", Limit: 1000, Tables: Tables{Dir: filepath.Join(t.TempDir(), "tables")}}
}

func TestWhateverIsThereStaysAndComesBack(t *testing.T) {
	for name, tt := range map[string]struct{ main, master string }{
		"nothing but defaults": {},
		"everything has a value": {main: "relay_domains = other.test\nrelay_recipient_maps = inline:{ {a@other.test=x} }\ntransport_maps = inline:{ {other.test=relay:[mx.test]} }\n" +
			"smtpd_milters = inet:127.0.0.1:8891, { unix:/run/rspamd.sock, default_action=tempfail }\nrecipient_delimiter = -\nvirtual_alias_maps = inline:{ {a@other.test=b} },\n"},
		"values without a value":                  {main: "relay_domains =\nrelay_recipient_maps=\ntransport_maps = \nsmtpd_milters =\t\nrecipient_delimiter =\nvirtual_alias_maps =\n"},
		"lines with folds and parameters in them": {main: "mydestination = $myhostname,\n  localhost.$mydomain\nrelay_domains =\n  $mydestination\n  other.test\nlocal_recipient_maps = proxy:unix:passwd.byname $alias_maps\n"},
		"comments between the lines":              {main: "# relay_domains = no.test\nrelay_domains = other.test\n# until May\n#   old.test\n\n    more.test   \n# after all\nsmtpd_milters =\n# ours\n\tinet:127.0.0.1:8891\n#the end\n"},
		"twice and for nobody":                    {main: "relay_domains = gone.test\nnot_used = 1\nmy_milters = inet:127.0.0.1:8891\nsmtpd_milters = $my_milters\nnon_smtpd_milters = $smtpd_milters\nrelay_domains=other.test\n"},
		"an end without a line break":             {main: "my_domains = other.test\nrelay_domains=$my_domains", master: "relay unix - - n - - smtp\n#127.0.0.1:10025 inet n - n - - smtpd\n#  -o content_filter="},
		"an old one":                              {main: "compatibility_level = 0\nmydestination = localhost, other.test\n"},
		"a domain with users":                     {main: "mydestination = lists.test localhost\n"},
		"a domain with virtual users":             {main: "virtual_mailbox_domains = lists.test\nvirtual_mailbox_maps = inline:{ {ann@lists.test=x} }\nvirtual_alias_maps = inline:{ {@lists.test=ann@lists.test} }\n"},
		"another port and spaces":                 {main: "transport_maps   =   inline:{ {other.test=relay:[mx.test]} }  \n", master: "10026      inet  n       -       n       -       -       smtpd\n\t-o\tcontent_filter=\n"},
		"a file of another system":                {main: "relay_domains = other.test\r\nsmtpd_milters = inet:127.0.0.1:8891\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := instance(t, tt.main, tt.master)
			before, err := p.read()
			if err != nil {
				t.Fatal(err)
			}
			o := options(t, "lists.test")
			plan, err := p.Plan(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if now, err := p.read(); err != nil || now != before {
				t.Error("a plan changes something")
			}
			record := filepath.Join(t.TempDir(), "postfix")
			if _, err := p.Apply(t.Context(), plan, o.Domains, record); err != nil {
				t.Fatal(err)
			}
			after, err := p.read()
			if err != nil {
				t.Fatal(err)
			}
			for _, old := range []struct{ before, after text }{{before.main, after.main}, {before.master, after.master}} {
				for line := range strings.Lines(string(old.before)) {
					if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "recipient_delimiter") && !strings.Contains(string(old.after), line) {
						if _, value, ok := strings.Cut(line, "="); !ok || !strings.Contains(string(old.after), strings.TrimSpace(value)) {
							t.Errorf("%q is gone:\n%s", line, old.after)
						}
					}
				}
			}
			p.settle(t)
			if next, err := p.Plan(t.Context(), o); err != nil || len(next.Changes) != 0 {
				t.Errorf("a second time: %+v, %v\n%s", next, err, after.main)
			}
			if notes, err := p.Undo(t.Context(), record); err != nil || len(notes) != 0 {
				t.Errorf("undo: %q, %v", notes, err)
			}
			now, err := p.read()
			if strings.HasSuffix(tt.main, "y_domains") { // it has its line break now
				now.main, now.master = text(strings.TrimSuffix(string(now.main), "\n")), text(strings.TrimSuffix(string(now.master), "\n"))
			}
			if spaces := strings.NewReplacer(" \n", "\n", "\t\n", "\n"); name == "values without a value" {
				before.main, now.main = text(spaces.Replace(string(before.main))), text(spaces.Replace(string(now.main)))
			}
			if err != nil || now != before {
				t.Errorf("after undo: %v\n%q\nbefore:\n%q", err, now, before)
			}
		})
	}
}

func TestUndoLeavesWhatWasChangedSince(t *testing.T) {
	t.Parallel()
	p := instance(t, "", "")
	o := options(t, "lists.test")
	plan, err := p.Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(t.TempDir(), "postfix")
	if _, err := p.Apply(t.Context(), plan, o.Domains, record); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	for _, more := range []string{"relay_domains = lists.test, later.test", "recipient_delimiter = +-"} {
		if _, err := p.run(t.Context(), "postconf", "-e", more); err != nil {
			t.Fatal(err)
		}
		p.settle(t)
	}
	notes, err := p.Undo(t.Context(), record)
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "recipient_delimiter") {
		t.Errorf("notes %q, %v", notes, err)
	}
	p.settle(t)
	if got, _ := p.Param(t.Context(), "relay_domains"); got != "later.test" {
		t.Errorf("relay_domains = %s", got)
	}
	if _, err := p.Undo(t.Context(), record); err == nil {
		t.Error("a second undo has something to do")
	}
}

// A domain goes, and the others stay as if it had never been there.
func TestOneDomainOfSeveralIsTakenBack(t *testing.T) {
	t.Parallel()
	p := instance(t, "relay_domains = other.test\nmydestination = users.test\nlocal_recipient_maps = inline:{ {ann=x} }\n", "")
	before, err := p.read()
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, "a.test", "bücher.test", "users.test")
	record := filepath.Join(t.TempDir(), "postfix")
	plan, err := p.Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Apply(t.Context(), plan, o.Domains, record); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	for _, tt := range []struct{ gone, stays string }{{"bücher.test", "a.test"}, {"a.test", "users.test"}} {
		r, notes, err := p.Leave(t.Context(), record, tt.gone)
		if err != nil || len(notes) > 0 {
			t.Fatalf("%q, %v", notes, err)
		}
		p.settle(t)
		now, err := p.read()
		if err != nil || strings.Contains(string(now.main), tt.gone) || strings.Contains(string(now.main), "xn--bcher") || strings.Contains(within(r.Tables.Dedicated), tt.gone) {
			t.Errorf("%s is still there: %v\n%s", tt.gone, err, now.main)
		}
		if in, err := p.holds(t.Context(), "relay_domains", "a.test"); err != nil || in != (tt.stays == "a.test") {
			t.Errorf("a.test is relayed: %v, %v", in, err)
		}
		for _, d := range []string{"other.test", "users.test"} {
			if !strings.Contains(string(now.main), d) {
				t.Errorf("%s is gone, too", d)
			}
		}
		o.Domains, o.Tables = r.Domains, r.Tables
		if next, err := p.Plan(t.Context(), o); err != nil || len(next.Changes) > 0 {
			t.Errorf("what is left wants %+v, %v", next, err)
		}
	}
	if _, _, err := p.Leave(t.Context(), record, "a.test"); err == nil {
		t.Error("a domain that is not there goes")
	}
	if r, notes, err := p.Leave(t.Context(), record, "users.test"); err != nil || len(notes) > 0 || r != nil {
		t.Errorf("the last one: %+v, %q, %v", r, notes, err)
	}
	if now, err := p.read(); err != nil || now != before {
		t.Errorf("%v\n%s", err, now.main)
	}
}

func TestWhatCannotBeSetUpIsSaid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, main, master, want string }{
		{"a domain of aliases", "virtual_alias_domains = lists.test\n", "", "virtual_alias_domains"},
		{"the port has another service", "", "127.0.0.1:10025 inet n - n - - smtpd -o syslog_name=postfix/amavis\n", "choose another port"},
		{"a table that cannot be read", "relay_domains = texthash:/nowhere/relays\n", "", "relay_domains: ask texthash:/nowhere/relays for lists.test"},
		{"a service of that name for something else", "", "mlist unix - n n - - pipe argv=/bin/true\n", "give that another name"},
		{"the port at all addresses", "", "10025 inet n - n - - smtpd\n", "master.cf has 10025 already"},
		{"the port by another name", "", "localhost:10025 inet n - n - - smtpd\n", "master.cf has localhost:10025 already"},
		{"a Postfix without IPv4", "inet_protocols = ipv6\n", "", "have outbound.mta in mlist.toml name [::1]"},
	} {
		p := instance(t, tt.main, tt.master)
		if _, err := p.Plan(t.Context(), options(t, "lists.test")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A table of lists alone would have Postfix refuse all mail for the others.
func TestOtherRelayedDomainsGoOnTakingEverything(t *testing.T) {
	for name, mainCF := range map[string]string{
		"domains":                 "relay_domains = other.test, more.test\n",
		"a parent of all":         "relay_domains = test\n",
		"a table":                 "relay_domains = inline:{ {other.test=x}, {more.test=x} }\n",
		"a parameter":             "mydestination = other.test\nthe_rest = more.test\nrelay_domains = $the_rest\n",
		"those that are its own":  "mydestination = other.test\nrelay_domains = $mydestination\n",
		"there is a table of all": "relay_domains = other.test\nrelay_recipient_maps = static:x\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := instance(t, mainCF, "")
			plan, _ := applied(t, p, "lists.test")
			if _, err := plan.Tables.Update(t.Context(), lists("dev@lists.test"), ""); err != nil {
				t.Fatal(err)
			}
			value, err := p.Param(t.Context(), "relay_recipient_maps")
			if err != nil {
				t.Fatal(err)
			}
			takes := func(address string) bool {
				for _, table := range split(value) {
					if hit, err := p.lookup(t.Context(), table, address); err != nil {
						t.Error(err)
					} else if hit != "" {
						return true
					}
				}
				return false
			}
			for address, want := range map[string]bool{
				"dev@lists.test": true, "nobody@lists.test": strings.Contains(mainCF, "static:"),
				"ann@other.test": !strings.Contains(mainCF, "relay_domains = $mydestination"),
				"ann@more.test":  !strings.Contains(mainCF, "relay_domains = $mydestination"), "ann@xlists.test": !strings.Contains(mainCF, "$mydestination"),
			} {
				if takes(address) != want {
					t.Errorf("%s is taken: %v, by %s", address, !want, value)
				}
			}
		})
	}
}

// applied sets up.
func applied(t *testing.T, p *Instance, domains ...string) (plan *Plan, record string) {
	t.Helper()
	o := options(t, domains...)
	if err := os.Mkdir(o.Tables.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	plan, err := p.Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	record = filepath.Join(t.TempDir(), "postfix")
	if _, err := p.Apply(t.Context(), plan, domains, record); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	return plan, record
}

// What no table has is asked of mlist last, so that what others know needs no mlist.
func TestALiveTableIsTheLastOne(t *testing.T) {
	t.Parallel()
	p := instance(t, "relay_domains = other.test\n", "")
	o := options(t, "lists.test")
	o.Live = "unix:" + filepath.Join(t.TempDir(), "map.sock")
	plan, err := p.Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(t.TempDir(), "postfix")
	if _, err := p.Apply(t.Context(), plan, o.Domains, record); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	value, err := p.Param(t.Context(), "relay_recipient_maps")
	if err != nil {
		t.Fatal(err)
	}
	if have := split(value); len(have) != 3 || have[2] != "proxy:socketmap:"+o.Live+":recipients" {
		t.Errorf("relay_recipient_maps = %s", value)
	}
	// Nobody answers there, and so it is for every mail in the second case.
	says := func(want string) {
		t.Helper()
		found, err := p.checkLive(t.Context(), Expect{Domains: o.Domains})
		if err != nil || len(found) == 0 || !strings.Contains(found[len(found)-1].Cause, want) {
			t.Errorf("check says %+v, %v; want %q", found, err, want)
		}
	}
	says("in the domains of relay_domains (other.test, lists.test) are put off (451)")
	if _, err := p.run(t.Context(), "postconf", "-e", "transport_maps = socketmap:"+o.Live+":recipients", "relay_recipient_maps ="); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	says("all mail of this machine waits")
	// A domain with users gets no live table.
	o.Domains = []string{"users.test"}
	if plan, err = instance(t, "mydestination = users.test\n", "").Plan(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, c := range plan.Changes {
		if strings.Contains(c.After, "socketmap") {
			t.Errorf("lists beside users: %s = %s", c.Name, c.After)
		}
	}
}

// A port that takes mail, but not from mlist, or not as mlist wants to hand it over.
func TestWhatTheHandBackPortCannotDoIsSaid(t *testing.T) {
	p := instance(t, "", "")
	for says, want := range map[string]string{
		"220 mx.test ESMTP\r\n250-mx.test\r\n250-PIPELINING\r\n250 XVERP\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n":              "",
		"220 mx.test ESMTP\r\n250-mx.test\r\n250-SIZE 100\r\n250 XVERP\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n":                "takes messages up to 100 octets",
		"220 mx.test ESMTP\r\n250-mx.test\r\n250-SIZE 0\r\n250 XVERP\r\n250 2.1.0 Ok\r\n554 5.7.1 Relay access denied\r\n": "does not take mail for members: to RCPT TO:<nobody@example.com> it says 554 5.7.1 Relay access denied",
		"220 mx.test ESMTP\r\n250-mx.test\r\n250 XVERPS\r\n250 Ok\r\n250 Ok\r\n":                                           "does not offer XVERP",
		"554 5.7.1 you are not welcome\r\n":                                        "is no SMTP server that takes mail: 554",
		"HTTP/1.1 400 Bad Request\r\n":                                             "is no SMTP server",
		"220 mx.test ESMTP\r\n502 5.5.1 what?\r\n221 2.0.0 closing connection\r\n": "is no SMTP server that takes mail: 502",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				io.WriteString(c, says)
				io.Copy(io.Discard, c)
				c.Close()
			}
		}()
		found, err := p.checkWayBack(t.Context(), Expect{HandBack: l.Addr().String(), MaxMessageSize: 1000})
		l.Close()
		if err != nil || (len(found) > 0) != (want != "") || want != "" && !strings.Contains(found[0].Cause, want) {
			t.Errorf("%q: %+v, %v", says, found, err)
		}
	}
}

// What is wrong with a configuration that was right is said, and nothing is said of one that is.
func TestWhatIsWrongIsSaid(t *testing.T) {
	first := instance(t, "", "")
	plan, record := applied(t, first, "lists.test")
	if _, err := plan.Tables.Update(t.Context(), lists("dev@lists.test"), ""); err != nil {
		t.Fatal(err)
	}
	right, err := ReadRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	good, err := first.read()
	if err != nil {
		t.Fatal(err)
	}
	for want, tt := range map[string]struct{ main, replace string }{
		"":                                    {},
		"transport_maps does not send":        {main: "transport_maps ="},
		"not to mlist: list mail goes astray": {main: "transport_maps = regexp:{ {/./ smtp:[mx.test]} }"},
		"but mlist listens at unix:/run/mlist/lmtp.sock":     {main: "transport_maps = inline:{ {lists.test=mlist:unix:/elsewhere} }"},
		"nothing else asks whether a list exists":            {main: "relay_recipient_maps ="},
		"does not have the list dev@lists.test":              {main: "relay_recipient_maps = inline:{ {a@b.test=x} }"},
		"which Postfix does not know as its own":             {main: "relay_domains ="},
		"have a + in their address":                          {main: "recipient_delimiter ="},
		"makes dev@lists.test into ann@net.test":             {main: "virtual_alias_maps = inline:{ {dev@lists.test=ann@net.test} }"},
		"makes dev@lists.test into all@net.test":             {main: "virtual_alias_maps = inline:{ {@lists.test=all@net.test} }"},
		"makes dev-bounces@lists.test into root@net.test":    {main: "sender_canonical_maps = inline:{ {@lists.test=root@net.test} }", replace: "-o sender_canonical_maps="},
		"makes dev@lists.test into dev@net.test":             {main: "recipient_canonical_maps = inline:{ {dev@lists.test=dev@net.test} }"},
		"dev-bounces@lists.test one of test":                 {main: "masquerade_domains = test", replace: "-o masquerade_domains="},
		"copies of a list's mail to a list":                  {main: "always_bcc = all@lists.test"},
		"changes List-Id in mail that leaves":                {main: "smtp_header_checks = regexp:{ {/^List-/ IGNORE} }"},
		"once more when it is handed back":                   {main: "content_filter = smtp:[127.0.0.1]:10024", replace: "-o content_filter="},
		"asks mlist's milter":                                {replace: "-o smtpd_milters=,no_milters"},
		"header_checks (regexp:{ {/x/ REJECT} }) is applied": {main: "header_checks = regexp:{ {/x/ REJECT} }", replace: "no_header_body_checks,"},
		"takes 50 recipients at once":                        {main: "smtpd_recipient_limit = 50", replace: "-o smtpd_recipient_limit=1000"},
		"Postfix warns of its own configuration: ":           {main: "mlist_wrong = 1"},
		"which this Postfix no longer has":                   {replace: "TYPE"},
		"is missing or half made":                            {replace: "TABLE"},
		"Others than mlist may write":                        {replace: "MODE"},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			p := instance(t, "", "")
			r := *right
			r.Tables.Dir = filepath.Join(t.TempDir(), "tables")
			if err := os.CopyFS(r.Tables.Dir, os.DirFS(right.Tables.Dir)); err != nil {
				t.Fatal(err)
			}
			moved := strings.NewReplacer(first.Dir, p.Dir, right.Tables.Dir, r.Tables.Dir)
			f := files{text(moved.Replace(string(good.main))), text(moved.Replace(string(good.master)))}
			var err error
			switch table := filepath.Join(r.Tables.Dir, recipients); tt.replace {
			case "TYPE":
				r.Tables.Type = "dbm"
			case "TABLE":
				err = os.Remove(table)
			case "MODE":
				err = os.Chmod(table+r.Tables.suffix(recipients), 0o666)
			}
			if name, value, ok := strings.Cut(tt.main, " ="); ok {
				f.main = f.main.assign(name, strings.TrimSpace(value))
			}
			for part := range strings.SplitSeq(tt.replace, ",") {
				f.master = text(strings.Replace(string(f.master), part, "", 1))
			}
			for name, text := range map[string]text{"main.cf": f.main, "master.cf": f.master} {
				err = errors.Join(err, os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
			p.settle(t)
			dev, _ := address.Parse("dev@lists.test")
			e := Expect{Domains: []string{"lists.test"}, LMTP: []string{"unix:/run/mlist/lmtp.sock"}, HandBack: "127.0.0.1:10025", MaxMessageSize: 40 << 20, Limit: 1000, Record: &r, Samples: []address.Address{dev}}
			found, err := p.Check(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			entry, err := p.listener(t.Context(), e.HandBack)
			if err != nil {
				t.Fatal(err)
			}
			more, err := p.checkEntry(t.Context(), e, entry)
			if err != nil {
				t.Fatal(err)
			}
			said := false
			for _, f := range append(found, more...) {
				// There is neither mlist nor Postfix here.
				if strings.HasPrefix(f.Cause, "There is no socket at") || strings.HasPrefix(f.Cause, "Nobody answers at") {
					continue
				}
				if said = said || want != "" && strings.Contains(f.Cause, want); want == "" || f.Cure == "" {
					t.Errorf("%+v", f)
				}
			}
			if !said && want != "" {
				t.Errorf("it says %+v", append(found, more...))
			}
		})
	}
}

func TestAListParameterIsTakenApart(t *testing.T) {
	for value, want := range map[string][]string{
		"":                                nil,
		"a, b c":                          {"a", "b", "c"},
		"inline:{ {a=b}, {c=d} }, hash:x": {"inline:{ {a=b}, {c=d} }", "hash:x"},
		"inline: { a=b } hash:x":          {"inline:{ a=b }", "hash:x"},
		"{ unix:x, default_action=accept } inet:y:1": {"{ unix:x, default_action=accept }", "inet:y:1"},
		"} a": {"}", "a"},
		"{ a": {"{ a"},
	} {
		if got := split(value); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func lists(names ...string) func(func(address.Address, error) bool) {
	return func(yield func(address.Address, error) bool) {
		for _, n := range names {
			a, err := address.Parse(n)
			if !yield(a, err) {
				return
			}
		}
	}
}

func TestTablesHoldWhatPostfixAsksFor(t *testing.T) {
	t.Parallel()
	p := instance(t, "", "")
	for _, kind := range []string{"hash", "texthash"} {
		if types, err := p.run(t.Context(), "postconf", "-m"); err != nil || !slices.Contains(strings.Fields(types), kind) {
			t.Logf("%s: not in this Postfix", kind)
			continue
		}
		tables := Tables{Dir: t.TempDir(), Type: kind, Shared: []string{"users.test"}, NextHop: "mlist:unix:/run/mlist/lmtp.sock"}
		all := lists("dev@lists.test", "News@users.test")
		if changed, err := tables.Update(t.Context(), all, "mlist"); err != nil || !changed {
			t.Fatalf("%s: changed %v, %v", kind, changed, err)
		}
		if changed, err := tables.Update(t.Context(), all, "mlist"); err != nil || changed {
			t.Errorf("%s: the same again: changed %v, %v", kind, changed, err)
		}
		for _, tt := range []struct{ table, key, want string }{
			{recipients, "dev@lists.test", "dev@lists.test"},
			{recipients, "dev-bounces@lists.test", "dev-bounces@lists.test"},
			{recipients, "news-unsubscribe@users.test", "news-unsubscribe@users.test"},
			{recipients, "nobody@lists.test", ""},
			{recipients, "mlist@lists.test", "mlist@lists.test"},
			{recipients, "mlist-owner@lists.test", ""},
			{transport, "mlist@users.test", tables.NextHop},
			{transport, "news@users.test", tables.NextHop},
			{transport, "dev@lists.test", ""},
		} {
			if got, err := p.lookup(t.Context(), tables.Table(tt.table), tt.key); err != nil || got != tt.want {
				t.Errorf("%s %s: %q, want %q, %v", tables.Table(tt.table), tt.key, got, tt.want, err)
			}
		}
		tables.Anew = true
		if changed, err := tables.Update(t.Context(), all, "mlist"); err != nil || !changed {
			t.Errorf("%s: anew: changed %v, %v", kind, changed, err)
		}
		tables.Anew = false
		// Whoever changes them: root's `mlist postfix check` must not take them away from mlist.
		if os.Geteuid() == 0 {
			if err := os.Chown(tables.Dir, 12345, 12346); err != nil {
				t.Fatal(err)
			}
		}
		if changed, err := tables.Update(t.Context(), lists(), "mlist"); err != nil || !changed {
			t.Errorf("%s: no lists: changed %v, %v", kind, changed, err)
		}
		if got, err := p.lookup(t.Context(), tables.Table(recipients), "dev@lists.test"); err != nil || got != "" {
			t.Errorf("%s: a list that is gone: %q, %v", kind, got, err)
		}
		var dir, table unix.Stat_t
		if err := errors.Join(unix.Stat(tables.Dir, &dir), unix.Stat(filepath.Join(tables.Dir, recipients), &table)); err != nil || dir.Uid != table.Uid || dir.Gid != table.Gid {
			t.Errorf("%s: the table is %d:%d's, and the directory %d:%d's, %v", kind, table.Uid, table.Gid, dir.Uid, dir.Gid, err)
		}
		if left, _ := filepath.Glob(filepath.Join(tables.Dir, ".new*")); left != nil {
			t.Errorf("left over: %q", left)
		}
	}
}

// A crash between the two renames leaves a new text beside an old table.
func TestATableThatIsHalfMadeIsMadeAgain(t *testing.T) {
	t.Parallel()
	p := instance(t, "", "")
	tables := Tables{Dir: t.TempDir(), Type: "hash"}
	if _, err := tables.Update(t.Context(), lists("old@lists.test"), "mlist"); err != nil {
		t.Skip(err) // no hash here
	}
	path := filepath.Join(tables.Dir, recipients)
	kept, err := os.ReadFile(path + ".db")
	if err != nil {
		t.Fatal(err)
	}
	info, _ := os.Stat(path + ".db")
	if _, err := tables.Update(t.Context(), lists("new@lists.test"), "mlist"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".db", kept, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path+".db", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if _, err := tables.Update(context.Background(), lists("new@lists.test"), "mlist"); err != nil {
		t.Fatal(err)
	}
	if got, err := p.lookup(t.Context(), tables.Table(recipients), "new@lists.test"); err != nil || got != "new@lists.test" {
		t.Errorf("%q, %v", got, err)
	}
}
