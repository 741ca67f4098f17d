package mailauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk/message"
)

// The message, keys and signatures of RFC 6376 appendix A and RFC 8463 appendix A.
const (
	rfcKey   = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
	rfcEdKey = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

	rfcTestKey = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"

	rfcMail = `From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`
	rfc6376 = `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
`
	rfc8463 = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
`
)

func TestTheVectorsOfTheRFCs(t *testing.T) {
	dns := NewFile(map[string][]string{"brisbane._domainkey.example.com": {rfcKey},
		"brisbane._domainkey.football.example.com.": {rfcEdKey}, "TEST._domainkey.football.example.com": {rfcTestKey}})
	// RFC 6376 prints the sentence with one space, and the hash of the body with two.
	one := strings.Replace(rfcMail, "game.  Are", "game. Are", 1)
	for _, tt := range []struct {
		name, msg string
		want      []Result
	}{
		{"RFC 6376", crlfs(rfc6376 + one), []Result{Pass}},
		{"RFC 6376, lines that end in LF", rfc6376 + one, []Result{Pass}},
		{"RFC 6376, a field of the same name above", crlfs("Subject: other\n" + rfc6376 + one), []Result{Pass}},
		{"RFC 6376, a field of the same name below", crlfs(rfc6376 + strings.Replace(one, "\n\n", "\nSubject: other\n\n", 1)), []Result{Fail}},
		{"RFC 6376, a space more", crlfs(rfc6376 + strings.Replace(one, "Is dinner", "Is  dinner", 1)), []Result{Fail}},
		{"RFC 8463", crlfs(rfc8463 + rfcMail), []Result{Pass, Pass}},
		{"RFC 8463, lines that end in LF, and none at the end", strings.TrimSuffix(rfc8463+rfcMail, "\n"), []Result{Pass, Pass}},
		{"RFC 8463, a space more", crlfs(rfc8463 + strings.Replace(rfcMail, "Is dinner", "Is  dinner", 1)), []Result{Pass, Pass}},
		{"RFC 8463, another body", crlfs(rfc8463 + rfcMail + "x\n"), []Result{Fail, Fail}},
		{"RFC 8463, a second Subject, which it oversigns", crlfs("Subject: other\n" + rfc8463 + rfcMail), []Result{Fail, Fail}},
		{"both", crlfs(rfc8463 + rfc6376 + one), []Result{Pass, Pass, Pass}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := results(verify(t, dns, tt.msg)); !slices.Equal(got, tt.want) {
				t.Errorf("results %v, want %v", got, tt.want)
			}
		})
	}
}

func results(v Verdict) []Result {
	var out []Result
	for _, s := range v.DKIM {
		out = append(out, s.Result)
	}
	return out
}

func TestSignaturesOfEveryKind(t *testing.T) {
	k, ed := rsaKey("example.org", "s1"), edKey("example.org", "e1")
	record, err := Record(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	p := record[strings.Index(record, "p="):]
	dns := published(t, []*Key{k, ed, {Domain: "example.org", Selector: "short", signer: keyPair().short}},
		"revoked._domainkey.example.org", "v=DKIM1; p=",
		"testing._domainkey.example.org", "v=DKIM1; t=y; "+p,
		"strict._domainkey.example.org", "v=DKIM1; t=s; "+p,
		"web._domainkey.example.org", "v=DKIM1; s=web; "+p,
		"mail._domainkey.example.org", "v=DKIM1; s=web:email; "+p,
		"sha1._domainkey.example.org", "v=DKIM1; h=sha1; "+p,
		"kind._domainkey.example.org", "v=DKIM1; k=dsa; "+p,
		"version._domainkey.example.org", "v=DKIM2; "+p,
		"junk._domainkey.example.org", "hello",
		"badkey._domainkey.example.org", "v=DKIM1; p=AAAA",
		"bare._domainkey.example.org", p,
		"two._domainkey.example.org", "v=spf1 -all", "two._domainkey.example.org", "v=DKIM1; p=", "two._domainkey.example.org", record)
	const usual = "v=1; a=rsa-sha256; d=example.org; s=s1; c=relaxed/relaxed; h=From:To:Subject; bh=BH; b="
	with := func(old, changed string) string { return strings.Replace(usual, old, changed, 1) }
	for _, tt := range []struct {
		name, template string
		change         func(string) string // of the signed message
		want           Result
	}{
		{"usual", usual, nil, Pass},
		{"simple", with("relaxed/relaxed", "simple/simple"), nil, Pass},
		{"simple by default", with("c=relaxed/relaxed; ", ""), nil, Pass},
		{"header relaxed, body by default simple", with("relaxed/relaxed", "relaxed"), nil, Pass},
		{"simple and relaxed", with("relaxed/relaxed", "simple/relaxed"), nil, Pass},
		{"unknown canonicalization", with("relaxed/relaxed", "relaxed/nowsp"), breakNothing, PermError},
		{"empty canonicalization of the body", with("relaxed/relaxed", "relaxed/"), breakNothing, PermError},
		{"refolded header", usual, replace("Subject: a topic\r\n that  is folded \r\n", "SUBJECT :a topic that is\r\n\tfolded\r\n"), Pass},
		{"refolded header, simple", with("relaxed/relaxed", "simple/relaxed"), replace("a topic\r\n that", "a topic that"), Fail},
		{"changed header", usual, replace("a topic", "another topic"), Fail},
		{"changed body", usual, replace("Hello", "Hallo"), Fail},
		{"white space in the body", usual, replace("Hello,  all ", "Hello, all"), Pass},
		{"white space in a simple body", with("relaxed/relaxed", "relaxed/simple"), replace("Hello,  all ", "Hello, all"), Fail},
		{"empty lines at the end of a simple body", with("relaxed/relaxed", "relaxed/simple"), replace("Ann\t\r\n\r\n\r\n", "Ann\t\r\n"), Pass},
		{"unsigned field added", usual, func(s string) string { return "X-New: 1\r\n" + s }, Pass},
		{"signed field taken out", usual, replace("To: dev@lists.example.net\r\n", ""), Fail},
		{"oversigned field added", with("h=From", "h=From:From"), func(s string) string { return "From: eve@example.org\r\n" + s }, Fail},
		{"second From, not oversigned, above", usual, func(s string) string { return "From: eve@example.org\r\n" + s }, Pass},
		// RFC 6376 3.5: h= never means the signature itself, so a further one is what was not there.
		{"oversigned signatures", with("h=From", "h=DKIM-Signature:From"), nil, Pass},
		{"oversigned signatures, one added", with("h=From", "h=DKIM-Signature:From"), replace("Received: ", "DKIM-Signature: v=1\r\nReceived: "), Fail},
		{"From not signed", with("h=From:To", "h=To"), nil, PermError},
		{"names in any case and with spaces", with("From:To:Subject", "FROM : to\r\n : subject"), nil, Pass},
		{"body length", with("h=From", "l=10; h=From"), func(s string) string { return s + "more" }, Pass},
		{"body length, the start changed", with("h=From", "l=10; h=From"), replace("Hello", "Hallo"), Fail},
		{"body length zero", with("h=From", "l=0; h=From"), replace("Hello", "Hallo"), Pass},
		{"body length larger than the body", with("h=From", "l=9999; h=From"), nil, PermError},
		{"body length no number", with("h=From", "l=1x; h=From"), breakNothing, PermError},
		{"expired", with("h=From", "t=1700000000; x=1700000001; h=From"), nil, PermError},
		{"not expired", with("h=From", fmt.Sprintf("t=%d; x=%d; h=From", noon.Unix()-5, noon.Unix()+5)), nil, Pass},
		{"expires before it was made", with("h=From", "t=1900000001; x=1900000000; h=From"), nil, PermError},
		{"expires in a very long time", with("h=From", "x=99999999999999999999999999; h=From"), nil, Pass},
		{"identity below the domain", with("h=From", "i=ann@mail.example.org; h=From"), nil, Pass},
		{"identity elsewhere", with("h=From", "i=ann@example.com; h=From"), nil, PermError},
		{"identity that only ends alike", with("h=From", "i=ann@badexample.org; h=From"), nil, PermError},
		{"identity in quoted-printable", with("h=From", "i=ann=40example.org; h=From"), nil, Pass},
		{"identity with a quoted domain", with("h=From", "i=ann@exam=70le=2Eorg; h=From"), nil, Pass},
		{"identity folded", with("h=From", "i=a\r\n nn@exa\r\n\tmple.org; h=From"), nil, Pass},
		{"identity elsewhere, quoted", with("h=From", "i=ann=40example.com; h=From"), nil, PermError},
		{"identity that is not quoted right", with("h=From", "i=ann=4@example.org; h=From"), nil, PermError},
		{"strict key, identity below", with("s=s1", "s=strict; i=@mail.example.org"), nil, PermError},
		{"strict key, identity the domain", with("s=s1", "s=strict; i=@example.org"), nil, Pass},
		{"testing", with("s=s1", "s=testing"), nil, Pass},
		{"no key", with("s=s1", "s=none"), nil, PermError},
		{"revoked key", with("s=s1", "s=revoked"), nil, PermError},
		{"revoked key, and changed body", with("s=s1", "s=revoked"), replace("Hello", "Hallo"), PermError},
		{"a short key, and changed body", with("s=s1", "s=short"), replace("Hello", "Hallo"), PermError},
		{"one good record of three, and changed body", with("s=s1", "s=two"), replace("Hello", "Hallo"), Fail},
		{"key of another service", with("s=s1", "s=web"), nil, PermError},
		{"key of several services", with("s=s1", "s=mail"), nil, Pass},
		{"key for another hash", with("s=s1", "s=sha1"), nil, PermError},
		{"key of another kind", with("s=s1", "s=kind"), nil, PermError},
		{"key of another version", with("s=s1", "s=version"), nil, PermError},
		{"key that is none", with("s=s1", "s=junk"), nil, PermError},
		{"key that cannot be decoded", with("s=s1", "s=badkey"), nil, PermError},
		{"key without a version", with("s=s1", "s=bare"), nil, Pass},
		{"one good record of three", with("s=s1", "s=two"), nil, Pass},
		{"an Ed25519 key for an RSA signature", with("s=s1", "s=e1"), nil, PermError},
		{"rsa-sha1", with("rsa-sha256", "rsa-sha1"), nil, PermError},
		{"unknown algorithm", with("rsa-sha256", "rsa-md5"), nil, PermError},
		{"version 2", with("v=1", "v=2"), nil, PermError},
		{"no version", with("v=1; ", ""), nil, PermError},
		{"by another query method", with("h=From", "q=dns/https; h=From"), nil, PermError},
		{"by two query methods", with("h=From", "q=x:dns/txt; h=From"), nil, Pass},
		{"unknown tag", with("h=From", "zz=top; h=From"), nil, Pass},
		{"a tag twice", usual, replace("v=1; ", "v=1; s=s1; "), PermError},
		{"no tag at all", usual, replace("v=1; ", "hello; "), PermError},
		{"spaces in the signature", usual, func(s string) string {
			at := strings.Index(s, "; b=") + 10
			return s[:at] + "\r\n\t" + s[at:]
		}, Pass},
		{"signature that is no base64", usual, func(s string) string {
			at := strings.Index(s, "; b=") + 4
			return s[:at] + "!" + s[at:]
		}, PermError},
		{"empty signature", usual, func(s string) string {
			at, end := strings.Index(s, "; b=")+4, strings.Index(s, "\r\nReceived")
			return s[:at] + s[end:]
		}, PermError},
		{"domain in capitals", with("d=example.org", "d=EXAMPLE.ORG"), nil, Pass},
		{"domain that cannot be asked for", with("d=example.org", "d=exa mple.org"), nil, PermError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			template := tt.template
			if tt.change == nil {
				tt.change = func(s string) string { return s }
			}
			var msg string
			if parseable(template) {
				msg = signAs(t, k, template, mail)
			} else {
				msg = "DKIM-Signature: " + strings.Replace(template, "BH", "AAAA", 1) + "AAAA\r\n" + mail
			}
			got := verify(t, dns, tt.change(msg)).DKIM[0]
			if got.Result != tt.want {
				t.Errorf("%s (%s), want %s", got.Result, got.Reason, tt.want)
			}
			if (got.Result == Pass) != (got.Reason == "") {
				t.Errorf("result %s with reason %q", got.Result, got.Reason)
			}
			if parseable(template) && (got.Domain != "example.org" && !strings.Contains(template, "exa mple") || got.Selector == "") {
				t.Errorf("domain %q, selector %q", got.Domain, got.Selector)
			}
			if got.Testing != strings.Contains(template, "s=testing") || got.Result == Pass && got.Partial != strings.Contains(template, "l=") {
				t.Errorf("testing %t, partial %t", got.Testing, got.Partial)
			}
		})
	}
	t.Run("a short key", func(t *testing.T) {
		// Nobody can sign with it any more; the key is looked at first.
		msg := signAs(t, k, with("s=s1", "s=short"), mail)
		if got := verify(t, dns, msg).DKIM[0]; got.Result != PermError || !strings.Contains(got.Reason, "512 bits") {
			t.Errorf("%s: %s", got.Result, got.Reason)
		}
	})
	t.Run("Ed25519", func(t *testing.T) {
		msg := signAs(t, ed, strings.NewReplacer("rsa-", "ed25519-", "s=s1", "s=e1").Replace(usual), mail)
		if got := verify(t, dns, msg).DKIM[0]; got.Result != Pass {
			t.Errorf("%s: %s", got.Result, got.Reason)
		}
	})
	t.Run("an empty body", func(t *testing.T) {
		for _, c := range []string{"relaxed/relaxed", "simple/simple"} {
			empty := mail[:strings.Index(mail, "\r\n\r\n")+4]
			if got := verify(t, dns, signAs(t, k, with("relaxed/relaxed", c), empty)).DKIM[0]; got.Result != Pass {
				t.Errorf("%s: %s: %s", c, got.Result, got.Reason)
			}
		}
	})
}

func breakNothing(s string) string { return s }

func replace(old, changed string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic("not there: " + old)
		}
		return strings.Replace(s, old, changed, 1)
	}
}

// parseable tells whether signAs can make such a signature.
func parseable(template string) bool {
	tg, err := parseTags(template)
	if err != nil {
		return false
	}
	tg["bh"] = "AAAA"
	return (&signature{tags: tg}).message() == nil
}

// brokenDNS has no answers.
type brokenDNS struct{}

func (brokenDNS) LookupTXT(context.Context, string) ([]string, error) {
	return nil, errors.New("servers fail")
}
func (brokenDNS) Exists(context.Context, string) (bool, error) {
	return false, errors.New("servers fail")
}

func TestDNSTroubleIsNotTheSignersFault(t *testing.T) {
	k := rsaKey("example.org", "s1")
	msg := signed(t, k, mail)
	if got := verify(t, brokenDNS{}, msg).DKIM[0]; got.Result != TempError {
		t.Errorf("%s", got.Result)
	}
	if got := verify(t, brokenDNS{}, sealed(t, k, published(t, []*Key{k}), msg)).ARC; got.Result != TempError {
		t.Errorf("chain %+v", got)
	}
}

func TestOnlyTheFirstSignaturesAreJudged(t *testing.T) {
	k := rsaKey("example.org", "s1")
	dns := published(t, []*Key{k})
	msg := signed(t, k, mail)
	field := msg[:strings.Index(msg, "Received:")]
	v := verify(t, dns, strings.Repeat(field, 150)+mail)
	if len(v.DKIM) != 100 {
		t.Fatalf("%d signatures", len(v.DKIM))
	}
	for i, s := range v.DKIM {
		want := Policy
		if i < maxSignatures {
			want = Pass
		}
		if s.Result != want {
			t.Errorf("signature %d: %s", i, s.Result)
		}
	}
}

func TestWhatIsSignedVerifies(t *testing.T) {
	k, ed := rsaKey("lists.example.net", "2026a"), edKey("lists.example.net", "2026e")
	dns := published(t, []*Key{k, ed})
	long := "Subject: " + strings.Repeat("word ", 400)
	for name, msg := range map[string]string{
		"usual":                 mail,
		"LF":                    strings.ReplaceAll(mail, "\r\n", "\n"),
		"empty body":            "From: a@b.example\r\n\r\n",
		"no header":             "hello",
		"no body":               "From: a@b.example\r\n",
		"8-bit":                 "From: \xe4\xf6@b.example\r\nSubject: caf\xc3\xa9\r\n\r\n\xff\xfe\r\n",
		"many fields":           "From: a@b.example\r\n" + strings.Repeat("To: c@d.example\r\n", 15) + long + "\r\n\r\nbody",
		"a long line":           "From: a@b.example\r\n\r\n" + strings.Repeat("x", 100_000),
		"white space and lines": "From: a@b.example\r\n\r\n \t\r\n\r\n\t \r\na  b\r\n \r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []*Key{k, ed} {
				out := signed(t, key, msg)
				if again := signed(t, key, msg); again != out {
					t.Errorf("two signatures of one message:\n%s\n%s", out, again)
				}
				got := verify(t, dns, out).DKIM[0]
				if got.Result != Pass || got.Domain != key.Domain || got.Selector != key.Selector {
					t.Errorf("%s: %+v\n%.600s", key.Algorithm(), got, out)
				}
				field, _, _ := strings.Cut(out[strings.Index(out, "DKIM"):], "b=")
				for line := range strings.Lines(field) {
					if len(line) > 100 {
						t.Errorf("a line of %d octets: %s", len(line), line)
					}
				}
			}
		})
	}
}

func TestASignatureCoversWhatReadersSee(t *testing.T) {
	k := rsaKey("lists.example.net", "2026a")
	dns := published(t, []*Key{k})
	msg := signed(t, k, mail)
	for _, field := range []string{"From", "To", "Cc", "Subject", "Reply-To", "Date", "Message-ID", "MIME-Version", "Content-Type", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"} {
		if got := verify(t, dns, field+": x@y.example\r\n"+msg).DKIM[0]; got.Result != Fail {
			t.Errorf("%s added: %s", field, got.Result)
		}
	}
	for _, field := range []string{"Received", "X-Spam", "Return-Path", "DKIM-Signature", "Authentication-Results"} {
		v := verify(t, dns, field+": x\r\n"+msg)
		if got := v.DKIM[len(v.DKIM)-1]; got.Result != Pass {
			t.Errorf("%s added: %s", field, got.Result)
		}
	}
	for _, change := range []string{"List-Unsubscribe=One-Click", "https://lists.example.net/u/abc"} {
		if got := verify(t, dns, strings.Replace(msg, change, change+"x", 1)).DKIM[0]; got.Result != Fail {
			t.Errorf("%s changed: %s", change, got.Result)
		}
	}
}

// What outbound sends has a space where a CR ended no line: that is what must verify. A line
// that begins with one belongs to the field above then.
func TestALoneCRIsSignedAsItIsSent(t *testing.T) {
	k := rsaKey("lists.example.net", "2026a")
	dns := published(t, []*Key{k})
	for _, msg := range []string{
		"From: a@b.example\r\nSubject: one\rtwo\r\n\r\nthree\rfour\r\n\r\r\n",
		"From: a@b.example\r\n\rTo: c@d.example\r\nSubject: one\r\n\r\nthree\r\n",
		"From: a@b.example\n\rSubject: one\n\r\n\rthree\n\r",
		"\rFrom: a@b.example\r\nSubject: one\r\n\r\nthree\r\n",
	} {
		out := sealed(t, k, dns, signed(t, k, msg))
		lines := strings.ReplaceAll(strings.ReplaceAll(out, "\r\n", "\n"), "\r", " ")
		got := verify(t, dns, crlfs(lines))
		if got.DKIM[0].Result != Pass || got.ARC.Result != Pass {
			t.Errorf("%q: %+v", msg, got)
		}
	}
}

// The hash must not depend on how the body comes in pieces.
func TestABodyInPieces(t *testing.T) {
	body := []byte("\r\n a \t b\r\r\n\r\n\n \nx\r\ny \r\n\t\r\n\r\n\r")
	for _, canon := range []Canon{Simple, Relaxed} {
		for _, sent := range []bool{false, true} {
			whole := newBodyHash(canon, newHash(false), -1)
			whole.sent = sent
			whole.Write(body)
			want := whole.Sum()
			for size := 1; size < len(body); size++ {
				h := newBodyHash(canon, newHash(false), -1)
				h.sent = sent
				for piece := range slices.Chunk(body, size) {
					h.Write(piece)
				}
				if !bytes.Equal(h.Sum(), want) {
					t.Errorf("%s, pieces of %d: another hash", canon, size)
				}
			}
		}
	}
}

// lines is a body of any size.
type lines struct{ left int }

func (l *lines) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), l.left)
	for i := range n {
		p[i] = "a line of it \r\n"[(l.left-i)%15]
	}
	l.left -= n
	return n, nil
}

func TestALargeBodyTakesNoMemory(t *testing.T) {
	k := rsaKey("example.org", "s1")
	h, _ := split(t, signed(t, k, mail))
	v := Verifier{Resolver: published(t, []*Key{k}), Now: func() time.Time { return noon }}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := v.Verify(context.Background(), h, &lines{40 << 20}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated for a body of 40 MB", n)
	}
}

func TestAFailingBodyIsAnError(t *testing.T) {
	k := rsaKey("example.org", "s1")
	h, _ := split(t, signed(t, k, mail))
	v := Verifier{Resolver: published(t, []*Key{k})}
	_, err := v.Verify(context.Background(), h, io.MultiReader(strings.NewReader("x"), failing{}))
	if !errors.Is(err, errDisk) {
		t.Errorf("error %v", err)
	}
}

var errDisk = errors.New("disk")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errDisk }

func BenchmarkSign(b *testing.B) {
	h := message.ParseHeader([]byte(mail[:strings.Index(mail, "\r\n\r\n")+2]))
	hash := NewBodyHash()
	hash.Write([]byte("hello\r\n"))
	sum := hash.Sum()
	for _, k := range []*Key{rsaKey("example.org", "s1"), edKey("example.org", "e1")} {
		b.Run(k.Algorithm(), func(b *testing.B) {
			for b.Loop() {
				if _, err := k.Sign(h, sum, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, k := range []*Key{rsaKey("example.org", "s1"), edKey("example.org", "e1")} {
		h, _ := split(b, signed(b, k, mail))
		v := Verifier{Resolver: published(b, []*Key{k}), Now: func() time.Time { return noon }}
		body := mail[strings.Index(mail, "\r\n\r\n")+4:]
		b.Run(k.Algorithm(), func(b *testing.B) {
			for b.Loop() {
				if got, err := v.Verify(b.Context(), h, strings.NewReader(body)); err != nil || got.DKIM[0].Result != Pass {
					b.Fatal(got, err)
				}
			}
		})
	}
}

func BenchmarkBodyHash(b *testing.B) {
	body := []byte(strings.Repeat("a line of an ordinary message, with words of it\r\n", 2000))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		h := NewBodyHash()
		h.Write(body)
		h.Sum()
	}
}

// A clone goes on from anywhere, in the middle of a line end too, and leaves the first alone.
func TestBodyHashClone(t *testing.T) {
	const body = "a  line \r\nand\tanother\n\n\r\nthe last\r\n \r\n"
	whole := func(text string) []byte {
		h := NewBodyHash()
		h.Write([]byte(text))
		return h.Sum()
	}
	for i := range len(body) + 1 {
		begun := NewBodyHash()
		begun.Write([]byte(body[:i]))
		for _, rest := range []string{body[i:], "other\r\n", ""} {
			h, err := begun.Clone()
			if err != nil {
				t.Fatal(err)
			}
			h.Write([]byte(rest))
			if got, want := h.Sum(), whole(body[:i]+rest); !bytes.Equal(got, want) {
				t.Errorf("after %q and %q: %x, want %x", body[:i], rest, got, want)
			}
		}
	}
}
