package mailauth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/message"
)

func TestPolicies(t *testing.T) {
	dns := NewFile(map[string][]string{
		"_dmarc.example.com":            {"v=DMARC1; p=reject; sp=quarantine; np=none"},
		"www.mail.example.com":          {"something is there"},
		"_dmarc.own.example.com":        {"v=DMARC1;p=none"},
		"_dmarc.spaces.test":            {" v = DMARC1 ;\tp = Quarantine ; pct=0; ruf=x;;"},
		"_dmarc.late.test":              {"p=reject; v=DMARC1"},
		"_dmarc.lower.test":             {"v=dmarc1; p=reject"},
		"_dmarc.nopolicy.test":          {"v=DMARC1; rua=mailto:a@b.example"},
		"_dmarc.badpolicy.test":         {"v=DMARC1; p=shred"},
		"_dmarc.badsub.test":            {"v=DMARC1; p=reject; sp=shred"},
		"_dmarc.badsubrua.test":         {"v=DMARC1; p=reject; sp=shred; rua=mailto:a@b.example!10m"},
		"_dmarc.badrua.test":            {"v=DMARC1; p=shred; rua=nobody, mailto:"},
		"_dmarc.secondrua.test":         {"v=DMARC1; rua=nobody, https://b.example/r"},
		"_dmarc.onlyversion.test":       {"v=DMARC1"},
		"_dmarc.below.onlyversion.test": {"v=DMARC1;p"},
		"_dmarc.suffix.psd.test":        {"v=DMARC1; p=none; psd=y"},
		"_dmarc.psd.test":               {"v=DMARC1; p=reject"},
		"_dmarc.two.test":               {"v=DMARC1; p=reject", "v=DMARC1; p=none"},
		"_dmarc.other.test":             {"v=spf1 -all", "v=DMARC1; p=reject", "hello"},
		"_dmarc.testing.test":           {"v=DMARC1; p=reject; sp=quarantine; t=y"},
		"_dmarc.twice.test":             {"v=DMARC1; p=none; p=reject"},
		"_dmarc.bank":                   {"v=DMARC1; p=reject; psd=y; np=quarantine"},
		"_dmarc.money.bank":             {"v=DMARC1; p=none"},
		"there.cash.bank":               {"x"},
		"_dmarc.branch.corp.test":       {"v=DMARC1; p=quarantine; psd=n"},
		"_dmarc.corp.test":              {"v=DMARC1; p=reject"},
		"_dmarc.a.b.c.d.e.f.g.h.test":   {"v=DMARC1; p=reject"},
		"_dmarc.deep.test":              {"v=DMARC1; p=quarantine"},
		"_dmarc.mid.x.test":             {"v=DMARC1; p=quarantine"},
		"_dmarc.xn--bcher-kva.example":  {"v=DMARC1; p=reject"},
	})
	for _, tt := range []struct {
		domain string
		policy Disposition
		stated Disposition
		at     string
		org    string
	}{
		{"example.com", Reject, Reject, "example.com", "example.com"},
		{"Example.COM.", Reject, Reject, "example.com", "example.com"},
		{"mail.example.com", Quarantine, Quarantine, "example.com", "example.com"}, // it exists, as there is something below
		{"gone.example.com", PolicyNone, Quarantine, "example.com", "example.com"},
		{"own.example.com", PolicyNone, PolicyNone, "own.example.com", "example.com"},
		{"spaces.test", Quarantine, Quarantine, "spaces.test", "spaces.test"},
		{"late.test", NoPolicy, NoPolicy, "", "late.test"},
		{"lower.test", NoPolicy, NoPolicy, "", "lower.test"},
		{"nopolicy.test", PolicyNone, PolicyNone, "nopolicy.test", "nopolicy.test"},
		{"badpolicy.test", NoPolicy, NoPolicy, "", "badpolicy.test"},
		{"badrua.test", NoPolicy, NoPolicy, "", "badrua.test"},
		{"secondrua.test", PolicyNone, PolicyNone, "secondrua.test", "secondrua.test"},
		{"onlyversion.test", NoPolicy, NoPolicy, "", "onlyversion.test"},
		{"below.onlyversion.test", NoPolicy, NoPolicy, "", "onlyversion.test"},
		{"suffix.psd.test", PolicyNone, PolicyNone, "suffix.psd.test", "suffix.psd.test"}, // the walk stops there
		{"a.psd.test", Reject, Reject, "psd.test", "psd.test"},
		{"badsub.test", NoPolicy, Reject, "", "badsub.test"},
		{"badsubrua.test", PolicyNone, Reject, "badsubrua.test", "badsubrua.test"},
		{"a.badsub.test", NoPolicy, Reject, "", "badsub.test"},
		{"two.test", NoPolicy, NoPolicy, "", "two.test"},
		{"other.test", Reject, Reject, "other.test", "other.test"},
		{"testing.test", Quarantine, Reject, "testing.test", "testing.test"},
		{"a.testing.test", PolicyNone, Quarantine, "testing.test", "testing.test"},
		{"twice.test", PolicyNone, PolicyNone, "twice.test", "twice.test"},
		{"money.bank", PolicyNone, PolicyNone, "money.bank", "money.bank"},
		{"cash.bank", Reject, Reject, "bank", "cash.bank"},
		{"none.bank", Quarantine, Reject, "bank", "none.bank"},
		{"bank", Reject, Reject, "bank", "bank"},
		{"a.branch.corp.test", Quarantine, Quarantine, "branch.corp.test", "branch.corp.test"},
		{"branch.corp.test", Quarantine, Quarantine, "branch.corp.test", "branch.corp.test"},
		{"a.corp.test", Reject, Reject, "corp.test", "corp.test"},
		{"1.2.3.4.5.6.7.8.9.10.deep.test", Quarantine, Quarantine, "deep.test", "deep.test"},
		{"a.mid.x.test", Quarantine, Quarantine, "mid.x.test", "mid.x.test"},
		{"nothing.here", NoPolicy, NoPolicy, "", "nothing.here"},
		{"bücher.example", Reject, Reject, "xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"[192.0.2.1]", NoPolicy, NoPolicy, "", "[192.0.2.1]"},
		{"", NoPolicy, NoPolicy, "", ""},
		{strings.Repeat("a.", 200) + "test", NoPolicy, NoPolicy, "", strings.Repeat("a.", 200) + "test"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			got, err := Lookup(context.Background(), dns, tt.domain)
			if err != nil || got.Policy != tt.policy || got.Stated != tt.stated || got.At != tt.at || got.Org != tt.org {
				t.Errorf("policy %q, stated %q at %q, organization %q, %v\nwant %q, %q at %q, %q",
					got.Policy, got.Stated, got.At, got.Org, err, tt.policy, tt.stated, tt.at, tt.org)
			}
		})
	}
}

// counting counts what is asked.
type counting struct {
	File
	asked []string
}

func (c *counting) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.asked = append(c.asked, strings.TrimPrefix(name, "_dmarc."))
	return c.File.LookupTXT(ctx, name)
}

func TestAWalkIsShort(t *testing.T) {
	c := &counting{File: File{}}
	if _, err := Lookup(context.Background(), c, "1.2.3.4.5.6.7.8.9.10.example.com"); err != nil {
		t.Fatal(err)
	}
	want := []string{"1.2.3.4.5.6.7.8.9.10.example.com", "6.7.8.9.10.example.com", "7.8.9.10.example.com", "8.9.10.example.com", "9.10.example.com", "10.example.com", "example.com", "com"}
	if !slices.Equal(c.asked, want) {
		t.Errorf("asked %q, want %q", c.asked, want)
	}
}

func TestDMARC(t *testing.T) {
	dns := NewFile(map[string][]string{
		"_dmarc.example.com":     {"v=DMARC1; p=reject"},
		"_dmarc.strict.com":      {"v=DMARC1; p=quarantine; adkim=s; aspf=s"},
		"_dmarc.none.com":        {"v=DMARC1; p=none"},
		"_dmarc.broken.com":      {"v=DMARC1; p=refuse"},
		"_dmarc.reports.com":     {"v=DMARC1; rua=mailto:dmarc@reports.com"},
		"_dmarc.co.uk":           {"v=DMARC1; p=none; psd=y"},
		"_dmarc.shop.co.uk":      {"v=DMARC1; p=reject"},
		"_dmarc.sub.example.com": {"v=DMARC1; p=quarantine; psd=n"},
	})
	pass := func(domains ...string) []Signature {
		var out []Signature
		for _, d := range domains {
			out = append(out, Signature{Domain: d, Result: Pass})
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		authors []string
		dkim    []Signature
		spf     string
		want    Result
		aligned string
	}{
		{"signed by itself", []string{"example.com"}, pass("example.com"), "", Pass, "example.com"},
		{"signed by itself in capitals", []string{"example.com"}, pass("EXAMPLE.com"), "", Pass, "example.com"},
		{"signed by the organization", []string{"mail.example.com"}, pass("example.com"), "", Pass, "example.com"},
		{"signed by a subdomain", []string{"example.com"}, pass("mail.example.com"), "", Pass, "mail.example.com"},
		{"signed by a sibling", []string{"a.example.com"}, pass("b.example.com"), "", Pass, "b.example.com"},
		{"signed by an organization of its own below", []string{"example.com"}, pass("sub.example.com"), "", Fail, ""},
		{"signed by the organization above", []string{"sub.example.com"}, pass("example.com"), "", Fail, ""},
		{"signed by another", []string{"example.com"}, pass("example.org", "badexample.com"), "", Fail, ""},
		{"signed by a neighbour under a public suffix", []string{"shop.co.uk"}, pass("other.co.uk", "co.uk"), "", Fail, ""},
		{"a signature that fails", []string{"example.com"}, []Signature{{Domain: "example.com", Result: Fail}}, "", Fail, ""},
		{"a signature that may pass later", []string{"example.com"}, []Signature{{Domain: "example.com", Result: TempError}}, "", TempError, ""},
		{"one of several", []string{"example.com"}, append(pass("list.example"), Signature{Domain: "example.com", Result: Fail}, pass("example.com")[0]), "", Pass, "example.com"},
		{"strict, by itself", []string{"strict.com"}, pass("strict.com"), "", Pass, "strict.com"},
		{"strict, by a subdomain", []string{"strict.com"}, pass("a.strict.com"), "", Fail, ""},
		{"SPF", []string{"example.com"}, nil, "bounces.example.com", Pass, "bounces.example.com"},
		{"SPF, strict", []string{"strict.com"}, nil, "bounces.strict.com", Fail, ""},
		{"SPF of another", []string{"example.com"}, nil, "example.org", Fail, ""},
		{"no signature", []string{"none.com"}, nil, "", Fail, ""},
		{"a record without a policy", []string{"broken.com"}, pass("broken.com"), "", None, ""},
		{"a record of reports alone", []string{"reports.com"}, nil, "", Fail, ""},
		{"signed by what is below a public suffix with mail of its own", []string{"co.uk"}, pass("shop.co.uk"), "", Fail, ""},
		{"no policy", []string{"nothing.com"}, pass("nothing.com"), "", None, ""},
		{"two authors, one fails", []string{"none.com", "example.com"}, pass("none.com"), "", Fail, ""},
		{"two authors, both pass", []string{"none.com", "example.com"}, pass("none.com", "example.com"), "", Pass, "example.com"},
		{"nobody", nil, pass("example.com"), "", PermError, ""},
		{"a crowd", slices.Repeat([]string{"example.com"}, 6), nil, "", PermError, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Evaluate(context.Background(), dns, tt.authors, tt.dkim, tt.spf)
			if got.Result != tt.want || got.Aligned != tt.aligned {
				t.Errorf("%+v, want %s by %q", got, tt.want, tt.aligned)
			}
		})
	}
	if got := Evaluate(context.Background(), brokenDNS{}, []string{"example.com"}, nil, ""); got.Result != TempError {
		t.Errorf("without DNS: %+v", got)
	}
}

func TestAuthorDomains(t *testing.T) {
	for _, tt := range []struct{ from, want string }{
		{"From: ann@Example.org", "[example.org]"},
		{"From: \"ann@evil.example\" <ann@example.org>", "[example.org]"},
		{"From: ann@example.org (bob@evil.example)", "[example.org]"},
		{"From: Ann <ann@example.org>, Bob <bob@example.net>, <x@example.org>", "[example.org example.net]"},
		{"From: ann@example.org\r\nFrom: bob@example.net", "[example.org example.net]"},
		{"From: ann@bücher.example", "[xn--bcher-kva.example]"},
		{"From: ann@[192.0.2.1]", "[]"},
		{"From: undisclosed:;", "[]"},
		{"To: x@y.example", "[]"},
		{"From: ann@example.org.", "[example.org]"},
	} {
		if got := fmt.Sprint(AuthorDomains(message.ParseHeader([]byte(tt.from + "\r\n")))); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.from, got, tt.want)
		}
	}
}

// FuzzDMARC: any record, any domain: a policy that follows from it, and never a panic.
func FuzzDMARC(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; np=quarantine; psd=y; t=y", "a.b.example.com")
	f.Add("v=DMARC1;;=;p=;p", "a..b")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, record, domain string) {
		dns := NewFile(map[string][]string{"_dmarc." + domain: {record}, "_dmarc." + above(domain): {record}})
		p, err := Lookup(context.Background(), dns, domain)
		if err != nil || p.Policy.weight() < 0 || (p.At == "") != (p.Policy == NoPolicy) || p.Stated.weight() < p.Policy.weight() {
			t.Fatalf("%+v, %v", p, err)
		}
		if ok, err := p.AlignedDKIM(context.Background(), dns, domain); err != nil || !ok {
			t.Fatalf("%q is not aligned with itself: %v", domain, err)
		}
	})
}
