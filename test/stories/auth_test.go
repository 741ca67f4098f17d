package stories

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlist/mlist/mailauth"
	mime "github.com/mlist/mlist/sdk/message"
)

// bankKey is what bank.test signs with; its policy is to refuse what is not signed.
const bankKey = "v=DKIM1; k=ed25519; p=rfvKkCXEEkRYYsw0lJ7F2qPUKyLhjhSJRTEoMTth83U="

// auth is DNS for all stories, and the configuration of a key that signs for lists.test.
func auth(dir string) (dns map[string][]string, keys string, err error) {
	text, err := mailauth.Generate("rsa")
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, "lists.test.key")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, "", err
	}
	k, err := mailauth.NewKey("lists.test", "k1", text)
	if err != nil {
		return nil, "", err
	}
	record, err := mailauth.Record(k.Public())
	return map[string][]string{
		"k1._domainkey.lists.test": {record},
		"v1._domainkey.bank.test":  {bankKey},
		"_dmarc.bank.test":         {"v=DMARC1; p=reject"},
		"_dmarc.lists.test":        {"v=DMARC1; p=reject"},
	}, fmt.Sprintf("[{ domain = \"lists.test\", selector = \"k1\", key_file = %q }]", path), err
}

// judged is what a member's server finds in a message from the list.
func judged(t *testing.T, text []byte) (*mime.Header, mailauth.Verdict, mailauth.DMARC) {
	t.Helper()
	block, at, err := mime.Split(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	h := mime.ParseHeader(block)
	dns := mailauth.NewFile(records)
	v := mailauth.Verifier{Resolver: dns}
	got, err := v.Verify(t.Context(), h, bytes.NewReader(text[at:]))
	if err != nil {
		t.Fatal(err)
	}
	return h, got, mailauth.Evaluate(t.Context(), dns, mailauth.AuthorDomains(h), got.DKIM, "lists.test")
}

// passed tells whether there is a signature of this domain that holds.
func passed(v mailauth.Verdict, domain string) bool {
	for _, s := range v.DKIM {
		if s.Domain == domain && s.Result == mailauth.Pass {
			return true
		}
	}
	return false
}

func TestWhatTheListSendsIsSignedAndSealed(t *testing.T) {
	list := newList(t, nil, three...)
	// What Postfix could change on its way out must be right before: octets over 127, dots, spaces.
	text := strings.Replace(message(t, "Ann <ann@net.test>", list, "=?utf-8?q?caf=C3=A9?="), "Hello.\r\n", ".dot\r\n \t\r\nol\xc3\xa9  \r\n\r\n", 1)
	send(t, "ann@net.test", list, text)
	_, got := delivered(t, id(t)+"@net.test", 3)
	h, v, _ := judged(t, got)
	if !passed(v, "lists.test") {
		t.Errorf("signatures %+v\n%s", v.DKIM, got)
	}
	if v.ARC.Result != mailauth.Pass || v.ARC.Sealer != "lists.test" {
		t.Errorf("chain %+v\n%s", v.ARC, got)
	}
	if f := h.Get("From"); f != "Ann <ann@net.test>" {
		t.Errorf("From %s: its domain has no policy", f)
	}
}

func TestAnAuthorWhoseDomainWouldHaveThePostRefused(t *testing.T) {
	list := newList(t, []string{"default_nonmember_action=accept"}, three...)
	send(t, "ann@bank.test", list, message(t, "Ann <ann@bank.test>", list, "lunch"))
	_, got := delivered(t, id(t)+"@net.test", 3)
	h, v, dmarc := judged(t, got)
	name := strings.TrimSuffix(list, "@lists.test")
	if f := h.Get("From"); f != "Ann via "+name+" <"+list+">" {
		t.Errorf("From %s", f)
	}
	if r := h.Get("Reply-To"); r != "Ann <ann@bank.test>" {
		t.Errorf("Reply-To %s", r)
	}
	if dmarc.Result != mailauth.Pass || !passed(v, "lists.test") {
		t.Errorf("DMARC %+v, signatures %+v\n%s", dmarc, v.DKIM, got)
	}
}

// The signature is dkimpy's, over the octets as they are, and oversigns what it can.
func TestATransparentListKeepsSignatures(t *testing.T) {
	const signed = `DKIM-Signature: v=1; a=ed25519-sha256; c=simple/simple; d=bank.test;
 i=@bank.test; q=dns/txt; s=v1; t=1795623210; h=from : from : to : cc :
 subject : date : message-id : reply-to : mime-version : content-type :
 content-transfer-encoding;
 bh=XkoVjI4V1kJuXpf1sDD47x2L6AT31hmABlopKiFTbWY=;
 b=/Yc43PrNJ+mu2eujmiQ8oXbF7//qrqoyBJREccDaY1+nkGcP6m6Hh9RkU8GwysuhdrE3F
 55o4UVKjVaRpuNRDQ==
From: Ann <ann@bank.test>
To: testatransparentlistkeepssignatures@lists.test
Subject: caf=?utf-8?q?=C3=A9?= at  noon
Message-ID: <testatransparentlistkeepssignatures@net.test>
Date: Tue, 24 Nov 2026 12:00:00 +0000
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Hello,  café. ` + `
.dots

-- 
Ann
`
	list := newList(t, []string{"subject_prefix=", "footer=", "default_nonmember_action=accept"}, three...)
	send(t, "ann@bank.test", list, strings.ReplaceAll(signed, "\n", "\r\n"))
	_, got := delivered(t, id(t)+"@net.test", 3)
	h, v, dmarc := judged(t, got)
	if !passed(v, "bank.test") || !passed(v, "lists.test") || dmarc.Result != mailauth.Pass || dmarc.Aligned != "bank.test" {
		t.Errorf("signatures %+v, DMARC %+v\n%s", v.DKIM, dmarc, got)
	}
	if h.Get("From") != "Ann <ann@bank.test>" || h.Has("X-Original-From") {
		t.Errorf("From %s", h.Get("From"))
	}
	// The same list with a footer has to give the author another address.
	command(t, "list", "set", list, "footer=--")
	again := strings.Replace(signed, "<testatransparent", "<again.testatransparent", 1)
	send(t, "ann@bank.test", list, strings.ReplaceAll(again, "\n", "\r\n"))
	_, got = delivered(t, "again."+id(t)+"@net.test", 3)
	if h, v, dmarc = judged(t, got); dmarc.Result != mailauth.Pass || passed(v, "bank.test") || dmarc.Domain != "lists.test" {
		t.Errorf("with a footer: DMARC %+v, From %s", dmarc, h.Get("From"))
	}
}

func TestForgedResultsAreTakenOut(t *testing.T) {
	list := newList(t, nil, three...)
	const forged = "Authentication-Results: lists.test; dkim=pass header.d=bank.test; dmarc=pass header.from=bank.test\r\n"
	const others = "Authentication-Results: mx.net.test; dkim=pass (a; b)\r\n header.d=net.test\r\n"
	send(t, "ann@net.test", list, forged+others+message(t, "Ann <ann@net.test>", list, "lunch"))
	_, got := delivered(t, id(t)+"@net.test", 3)
	if bytes.Contains(got, []byte("lists.test; dkim=pass")) || !bytes.Contains(got, []byte(others)) {
		t.Errorf("%s", got)
	}
	h, _, _ := judged(t, got)
	if r := h.Get("ARC-Authentication-Results"); r != "i=1; lists.test; dmarc=none header.from=net.test" {
		t.Errorf("sealed with %s", r)
	}
}
