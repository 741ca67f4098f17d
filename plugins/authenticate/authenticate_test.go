package authenticate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const plain = "From: Ann <ann@example.org>\r\nTo: dev@lists.example.org\r\nSubject: topic\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n"

// author is example.org, which signs, and publishes that it does.
func author(t testing.TB) (*mailauth.Key, mailauth.File) {
	t.Helper()
	text, err := mailauth.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	k, err := mailauth.NewKey("example.org", "s1", text)
	if err != nil {
		t.Fatal(err)
	}
	record, err := mailauth.Record(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k, mailauth.NewFile(map[string][]string{"s1._domainkey.example.org": {record}, "_dmarc.example.org": {"v=DMARC1; p=reject"}})
}

func signedBy(t testing.TB, k *mailauth.Key, msg string) string {
	t.Helper()
	block, body, _ := strings.Cut(msg, "\r\n\r\n")
	hash := mailauth.NewBodyHash()
	hash.Write([]byte(body))
	v, err := k.Sign(message.ParseHeader([]byte(block+"\r\n")), hash.Sum(), noon)
	if err != nil {
		t.Fatal(err)
	}
	return "DKIM-Signature: " + v + "\r\n" + msg
}

// broken is DNS that fails.
type broken struct{}

func (broken) LookupTXT(context.Context, string) ([]string, error) {
	return nil, errors.New("servfail")
}
func (broken) Exists(context.Context, string) (bool, error) { return false, errors.New("servfail") }

func TestWhoVouches(t *testing.T) {
	k, dns := author(t)
	signed := signedBy(t, k, plain)
	const ours = "Authentication-Results: Lists.Example.ORG; dkim=pass header.d=example.org header.s=s1;\r\n spf=pass smtp.mailfrom=ann@example.org; dmarc=pass header.from=example.org\r\n"
	const fake = "Authentication-Results: lists.example.org; dkim=pass header.d=bank.example; dmarc=pass\r\n"
	const others = "Authentication-Results: mx.elsewhere.example; dkim=pass header.d=bank.example; dmarc=pass\r\n"
	const hop = "Received: from a by b; Mon, 1 Jun 2026 11:59:00 +0000\r\n"
	type config = map[string]any
	for _, tt := range []struct {
		name   string
		msg    string
		config config
		dns    mailauth.Resolver
		want   string // dkim | spf | dmarc | arc | aligned
		gone   string // a field that may not be there any more
	}{
		{"unsigned, nobody looked", plain, nil, dns, "none | | fail | none | ", ""},
		{"signed, nobody looked", hop + signed, nil, dns, "example.org=pass | | pass | none | example.org", ""},
		{"signed and changed", hop + strings.Replace(signed, "hello", "hallo", 1), nil, dns, "example.org=fail | | fail | none | ", ""},
		{"signed, and told so", ours + hop + signed, nil, broken{}, "example.org=pass | pass example.org | pass | none | example.org", ""},
		{"told so of an unsigned post", ours + plain, nil, broken{}, "example.org=pass | pass example.org | pass | none | example.org", ""},
		{"told so, always verified", ours + hop + strings.Replace(signed, "hello", "hallo", 1), config{"verify": "always"}, dns, "example.org=fail | pass example.org | pass | none | example.org", ""},
		{"told so of an unsigned post, always verified", ours + plain, config{"verify": "always"}, dns, "none | pass example.org | pass | none | example.org", ""},
		{"told so of an unsigned post without SPF, always verified", strings.Replace(ours, "spf=pass", "spf=fail", 1) + plain, config{"verify": "always"}, dns, "none | fail example.org | fail | none | ", ""},
		{"never verified", hop + signed, config{"verify": "never"}, dns, " | | | | ", ""},
		{"never verified, and told", ours + hop + signed, config{"verify": "never"}, broken{}, "example.org=pass | pass example.org | pass | | example.org", ""},
		{"forged", hop + fake + plain, nil, dns, "none | | fail | none | ", fake},
		{"forged, and told", ours + hop + fake + plain, nil, dns, "example.org=pass | pass example.org | pass | none | example.org", fake},
		{"below the MTA's own Received", hop + ours + hop + signed, config{"received": 1}, broken{}, "example.org=pass | pass example.org | pass | none | example.org", ""},
		{"forged further below", hop + hop + fake + plain, config{"received": 1}, dns, "none | | fail | none | ", fake},
		{"somebody else's results", others + plain, nil, dns, "none | | fail | none | ", ""},
		{"somebody who is trusted", others + plain, config{"authserv_ids": []string{"MX.elsewhere.example"}}, dns, "bank.example=pass | | pass | none | example.org", ""},
		{"our own name, which is not trusted then", fake + plain, config{"authserv_ids": []string{"mx.elsewhere.example"}}, dns, "none | | fail | none | ", ""},
		{"told of another author", strings.Replace(ours, "header.from=example.org", "header.from=example.net", 1) + plain, nil, dns, "example.org=pass | pass example.org | pass | none | ", ""},
		{"told of the second author", strings.Replace(ours, "header.from=example.org", "header.from=Example.Org", 1) + strings.Replace(plain, "From: ", "From: ceo@bank.example, ", 1), nil, dns, "example.org=pass | pass example.org | pass | none | example.org", ""},
		{"told by a later version", strings.Replace(ours, ".ORG;", ".ORG 2;", 1) + plain, nil, dns, "none | | fail | none | ", ""},
		{"told by version 1", strings.Replace(ours, ".ORG;", ".ORG (x) 1 (y);", 1) + plain, nil, dns, "example.org=pass | pass example.org | pass | none | example.org", ""},
		{"told in two fields", "Authentication-Results: lists.example.org; spf=pass smtp.mailfrom=a@bounces.example.org\r\nAuthentication-Results: (c) \"lists.example.org\";\r\n dkim=pass header.i=@example.org; dkim=fail header.d=example.net; dmarc=pass\r\n" + hop + plain, nil, broken{},
			"example.org=pass example.net=fail | pass bounces.example.org | pass | none | example.org", ""},
		{"SPF told, the rest not", "Authentication-Results: lists.example.org; spf=pass smtp.mailfrom=bounces.example.org\r\n" + plain, nil, dns,
			"none | pass bounces.example.org | pass | none | bounces.example.org", ""},
		{"SPF fails", "Authentication-Results: lists.example.org; spf=fail smtp.helo=example.org\r\n" + plain, nil, dns,
			"none | fail example.org | fail | none | ", ""},
		{"DNS fails", signed, nil, broken{}, "example.org=temperror | | temperror | none | ", ""},
		{"no author", "To: x@y.example\r\n\r\n", nil, dns, "none | | permerror | none | ", ""},
		{"a chain that is none", "ARC-Seal: i=1; cv=none\r\n" + plain, nil, dns, "none | | fail | fail | ", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, Authenticate(tt.dns).Handler, handlertest.Case{Message: tt.msg, Config: tt.config})
			if got.Verdict != sdk.Accept {
				t.Fatalf("verdict %+v", got.Verdict)
			}
			have := fmt.Sprintf("%s | %s | %s | %s | %s", got.Notes["auth.dkim"], got.Notes["auth.spf"], got.Notes["auth.dmarc"], got.Notes["auth.arc"], got.Notes["auth.aligned"])
			have = strings.Join(strings.Fields(have), " ")
			if have != strings.TrimSpace(tt.want) {
				t.Errorf("notes\n%s, want\n%s", have, tt.want)
			}
			want := tt.msg
			if tt.gone != "" {
				want = strings.Replace(want, tt.gone, "", 1)
			}
			if string(got.Message) != want {
				t.Errorf("the message becomes\n%s", got.Message)
			}
		})
	}
}

func TestManyForgedFieldsCostOneOperation(t *testing.T) {
	_, dns := author(t)
	msg := "Received: x\r\n" + strings.Repeat("Authentication-Results: lists.example.org; dkim=pass header.d=bank.example\r\n", 5000) + plain
	got := handlertest.Run(t, Authenticate(dns).Handler, handlertest.Case{Message: msg})
	if got.Header.Has("Authentication-Results") || len(got.Header.Ops()) != 1 {
		t.Errorf("%d operations", len(got.Header.Ops()))
	}
	if got.Counts["forged-results"] != 5000 {
		t.Errorf("counts %v", got.Counts)
	}
}

func TestABadConfigurationIsNamed(t *testing.T) {
	for want, config := range map[string]map[string]any{
		"verify":       {"verify": "sometimes"},
		"received":     {"received": -1},
		"authserv_ids": {"authserv_ids": []string{""}},
		"dns_timeout":  {"dns_timeout": "soon"},
	} {
		if _, err := handlertest.Try(t, Authenticate(mailauth.File{}).Handler, handlertest.Case{Message: plain, Config: config}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// FuzzAuthenticate: no message makes the stage fail, or ask for what mlist refuses.
func FuzzAuthenticate(f *testing.F) {
	k, dns := author(f)
	for _, s := range []string{signedBy(f, k, plain), plain, "Authentication-Results: lists.example.org; dkim=pass header.d=\"a\r\n b\xff\"; spf=\x00; arc=x\r\n\r\n", "Authentication-Results: lists.example.org; spf=pass smtp.mailfrom=\"\xff\x01@\"\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if _, err := message.Open(strings.NewReader(string(msg)), int64(len(msg))); err != nil {
			return
		}
		handlertest.Run(t, Authenticate(dns).Handler, handlertest.Case{Message: string(msg)})
	})
}
