package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk/message"
)

// noon is when everything in these tests happens.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// keyPair makes keys that are the same for all tests of a run.
var keyPair = sync.OnceValue(func() (keys struct{ rsa, short crypto.Signer }) {
	var err error
	if keys.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		panic(err)
	}
	keys.short = parsePEM(shortKey)
	return keys
})

func parsePEM(text string) crypto.Signer {
	block, _ := pem.Decode([]byte(text))
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	return k.(crypto.Signer)
}

func rsaKey(domain, selector string) *Key {
	return &Key{Domain: domain, Selector: selector, signer: keyPair().rsa}
}

func edKey(domain, selector string) *Key {
	return &Key{Domain: domain, Selector: selector, signer: ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", 32)))}
}

// published is DNS with the keys' records, and others: name, record, name, record.
func published(t testing.TB, keys []*Key, more ...string) File {
	t.Helper()
	records := map[string][]string{}
	for _, k := range keys {
		r, err := Record(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		name := k.Selector + "._domainkey." + k.Domain
		records[name] = append(records[name], r)
	}
	for i := 0; i < len(more); i += 2 {
		records[more[i]] = append(records[more[i]], more[i+1])
	}
	return NewFile(records)
}

// split takes a message apart; in tests it is written in Go's line ends.
func split(t testing.TB, msg string) (*message.Header, *strings.Reader) {
	t.Helper()
	block, at, err := message.Split(strings.NewReader(msg), int64(len(msg)))
	if err != nil {
		t.Fatal(err)
	}
	return message.ParseHeader(block), strings.NewReader(msg[at:])
}

func crlfs(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func verify(t testing.TB, r Resolver, msg string) Verdict {
	t.Helper()
	h, body := split(t, msg)
	v := Verifier{Resolver: r, Now: func() time.Time { return noon }}
	got, err := v.Verify(context.Background(), h, body)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// signAs signs a message in any way: template is the field's value with BH where the body's
// hash belongs, up to b=.
func signAs(t testing.TB, k *Key, template, msg string) string {
	t.Helper()
	h, body := split(t, msg)
	tg, err := parseTags(template)
	if err != nil {
		t.Fatal(err)
	}
	s := &signature{tags: tg, limit: -1}
	tg["bh"] = "AAAA"
	if err := s.message(); err != nil {
		t.Fatal(err)
	}
	hash := newBodyHash(s.body, newHash(false), s.limit)
	if err := copyBody(body, []*BodyHash{hash}); err != nil {
		t.Fatal(err)
	}
	v := strings.Replace(template, "BH", base64.StdEncoding.EncodeToString(hash.Sum()), 1)
	s.field = message.Field{Raw: []byte("DKIM-Signature: " + v)}
	sig, err := k.sign(s.headerHash(indexFields(h)))
	if err != nil {
		t.Fatal(err)
	}
	return "DKIM-Signature: " + v + sig + "\r\n" + msg
}

// signed is a message with the DKIM-Signature that Sign makes.
func signed(t testing.TB, k *Key, msg string) string {
	t.Helper()
	h, body := split(t, msg)
	hash := NewBodyHash()
	if err := copyBody(body, []*BodyHash{hash}); err != nil {
		t.Fatal(err)
	}
	v, err := k.Sign(h, hash.Sum(), noon)
	if err != nil {
		t.Fatal(err)
	}
	return whole(t, h, msg, [][2]string{{"DKIM-Signature", v}})
}

// sealed is a message with one more ARC set.
func sealed(t testing.TB, k *Key, r Resolver, msg string) string {
	t.Helper()
	return sealedAfter(t, k, verify(t, r, msg), msg)
}

func sealedAfter(t testing.TB, k *Key, v Verdict, msg string) string {
	t.Helper()
	h, body := split(t, msg)
	hash := NewBodyHash()
	if err := copyBody(body, []*BodyHash{hash}); err != nil {
		t.Fatal(err)
	}
	set, err := k.Seal(h, hash.Sum(), v.ARC, v.AuthResults(k.Domain).String(), noon)
	if err != nil {
		t.Fatal(err)
	}
	return whole(t, h, msg, set.Fields())
}

// whole puts fields above a message, as a stage does.
func whole(t testing.TB, h *message.Header, msg string, fields [][2]string) string {
	t.Helper()
	_, at, err := message.Split(strings.NewReader(msg), int64(len(msg)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		h.Prepend(f[0], f[1])
	}
	return string(h.Bytes()) + h.LineEnd() + msg[at:]
}

const mail = "Received: from a.example (a.example [192.0.2.1])\r\n\tby b.example; Mon, 1 Jun 2026 11:59:00 +0000\r\n" +
	"From:  Ann   <ann@example.org>\r\nTo: dev@lists.example.net\r\nSubject: a topic\r\n that  is folded \r\n" +
	"Date: Mon, 1 Jun 2026 11:58:00 +0000\r\nMessage-ID: <1@example.org>\r\n" +
	"List-Unsubscribe: <https://lists.example.net/u/abc>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" +
	"\r\nHello,  all \r\n\r\n-- \r\nAnn\t\r\n\r\n\r\n"

// shortKey has 512 bits, which nobody may trust.
const shortKey = `-----BEGIN PRIVATE KEY-----
MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAvCLgVzS8+wxvR9IM
uO2UJ2WlbEhV/uio35ANfX/iCim12Z9lTkAKHTjQbIvADxmh8x5qy4iPuMNKzXzE
ek21sQIDAQABAkEAitRNqexv2+3EHEKDQt+GKUBXvrzuQImdPEQHwGli+s2hfe2d
tuYUNqGX9nEko+xv5beNyda7FSVjduBlWuy1QQIhAPAyN73rJFEorWct9PRhtbRx
D9fcM33LPq1DiHQjEf6JAiEAyIPHZ6vtVFfDFyxtKWCpC9V0N62D5ELg/UllMmuJ
8+kCIBPKj30+msd1KpSN3NkmE+rCRiPrKPL8hDWSkvO+0ATBAiA5o5/zjjmH0D6V
b8DlbxLJAxAIXUmXmR4B0VJUvxMF2QIhAOLj2/o4R1eLzF8Y8ldrkuNVeX75+Xuf
AjCQJTxDI44R
-----END PRIVATE KEY-----
`
