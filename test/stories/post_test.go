package stories

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"
)

var three = []string{"ann@net.test", "bob@net.test", "cy@other.test"}

func TestAMembersPostReachesEveryMember(t *testing.T) {
	list := newList(t, nil, three...)
	send(t, "ann@net.test", list, message(t, "Ann <ann@net.test>", list, "lunch"))
	got, text := delivered(t, id(t)+"@net.test", 3)
	if !slices.Equal(got, three) {
		t.Errorf("delivered to %v, want %v", got, three)
	}
	name := strings.TrimSuffix(list, "@lists.test")
	for _, want := range []string{
		"Subject: [" + name + "] lunch",
		"List-Id: <" + name + ".lists.test>",
		"List-Post: <mailto:" + list + ">",
		"List-Unsubscribe: <mailto:" + name + "-leave@lists.test>",
		"Precedence: list",
		"From: Ann <ann@net.test>",
		"Hello.\r\n",
		"To unsubscribe send an email to " + name + "-leave@lists.test",
	} {
		if !bytes.Contains(unfold(text), []byte(want)) {
			t.Errorf("the post lacks %q:\n%s", want, text)
		}
	}
	for _, tx := range deliveries(id(t) + "@net.test") {
		if tx.Sender != name+"-bounces@lists.test" {
			t.Errorf("envelope sender %q", tx.Sender)
		}
	}
}

func unfold(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n "), []byte(" ")) }

func TestANonmembersPostWaitsForAModerator(t *testing.T) {
	list := newList(t, []string{"--owner", "boss@net.test"}, three...)
	send(t, "eve@else.test", list, message(t, "eve@else.test", list, "buy"))
	eventually(t, "a held post", func() bool { return len(held(t, list)) == 1 })
	received(t, "boss@net.test", "waits for you", list)
	received(t, "eve@else.test", "waits for a moderator", list)
	if n := len(deliveries(id(t) + "@net.test")); n != 0 {
		t.Fatalf("the held post was delivered %d times", n)
	}
	command(t, "held", "accept", held(t, list)[0]["id"].(string))
	if got, _ := delivered(t, id(t)+"@net.test", 3); !slices.Equal(got, three) {
		t.Errorf("delivered to %v, want %v", got, three)
	}
}

func TestAModeratorRejectsAPostAndItsAuthorIsTold(t *testing.T) {
	list := newList(t, nil, three...)
	send(t, "eve@else.test", list, message(t, "eve@else.test", list, "buy"))
	eventually(t, "a held post", func() bool { return len(held(t, list)) == 1 })
	command(t, "held", "reject", held(t, list)[0]["id"].(string), "--reason", "Off topic here.")
	received(t, "eve@else.test", "was rejected", "Off topic here.", "Auto-Submitted: auto-replied")
}

func TestAnUnknownAddressIsRefusedAtOnce(t *testing.T) {
	list := newList(t, nil, three...)
	c, err := smtp.Dial(postfix.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("ann@net.test"); err != nil {
		t.Fatal(err)
	}
	err = c.Rcpt("nosuch@lists.test")
	if err == nil || !strings.HasPrefix(err.Error(), "550") {
		t.Errorf("RCPT of an unknown list: %v, want 550", err)
	}
	for _, known := range []string{list, strings.Replace(list, "@", "-owner@", 1), strings.Replace(list, "@", "-bounces+ann=net.test@", 1)} {
		if err := c.Rcpt(known); err != nil {
			t.Errorf("RCPT of %s: %v", known, err)
		}
	}
}

func TestTenMegabytesComeThroughUntouched(t *testing.T) {
	list := newList(t, []string{"max_message_size=0", "footer="}, three...)
	var body bytes.Buffer
	rnd := rand.New(rand.NewPCG(1, 2))
	for body.Len() < 10<<20 {
		fmt.Fprintf(&body, "%016x%016x%016x%016x\r\n", rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
	}
	send(t, "ann@net.test", list, strings.Replace(message(t, "ann@net.test", list, "big"), "Hello.\r\n", body.String(), 1))
	_, text := delivered(t, id(t)+"@net.test", 3)
	_, got, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	if sha256.Sum256(got) != sha256.Sum256(body.Bytes()) {
		t.Errorf("the body of %d bytes came out as %d other bytes", body.Len(), len(got))
	}
}

func TestEightBitTextComesThrough(t *testing.T) {
	list := newList(t, nil, three...)
	text := strings.Replace(message(t, "ann@net.test", list, "8 bit"), "\r\n\r\nHello.",
		"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße, 你好, мир.", 1)
	send(t, "ann@net.test", list, text)
	_, got := delivered(t, id(t)+"@net.test", 3)
	for _, want := range []string{"Grüße, 你好, мир.\r\n", "To unsubscribe"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("the post lacks %q:\n%s", want, got)
		}
	}
}

func TestInternationalAddressesWork(t *testing.T) {
	members := append(slices.Clone(three), "用户@例え.test")
	list := newList(t, nil, members...)
	from := "jürgen@net.test"
	command(t, "member", "add", list, from)
	send(t, from, list, message(t, "Jürgen <"+from+">", list, "Grüße"))
	got, text := delivered(t, id(t)+"@net.test", 5)
	want := append(slices.Clone(members), from)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("delivered to %v, want %v", got, want)
	}
	if !bytes.Contains(text, []byte("Jürgen <"+from+">")) {
		t.Errorf("the author's field changed:\n%s", text)
	}
}

const signed = `Content-Type: multipart/signed; micalg=pgp-sha256; protocol="application/pgp-signature"; boundary="sig"
MIME-Version: 1.0

This is an OpenPGP/MIME signed message (RFC 4880 and 3156)
--sig
Content-Type: multipart/mixed; boundary="in"

--in
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Signed =E2=9C=94 text, with trailing space=20
and a tab=09

--in--

--sig
Content-Type: application/pgp-signature; name="signature.asc"

-----BEGIN PGP SIGNATURE-----

iHUEARYKAB0WIQ
-----END PGP SIGNATURE-----

--sig--
`

func TestASignedMessageIsNotTouchedInside(t *testing.T) {
	list := newList(t, nil, three...)
	crlf := strings.ReplaceAll(signed, "\n", "\r\n")
	_, body, _ := strings.Cut(crlf, "\r\n\r\n")
	send(t, "ann@net.test", list, strings.Replace(message(t, "ann@net.test", list, "signed"), "\r\n\r\nHello.\r\n", "\r\n"+crlf, 1))
	_, got := delivered(t, id(t)+"@net.test", 3)
	if !bytes.HasSuffix(got, []byte("\r\n\r\n"+body)) {
		t.Errorf("the signed body changed:\n%s", got)
	}
	if !bytes.Contains(got, []byte("Subject: [")) {
		t.Error("the subject has no prefix: outside of the signature it should")
	}
}

func TestTenThousandMembersAllGetOneCopy(t *testing.T) {
	members := make([]string, 10_000)
	for i := range members {
		members[i] = fmt.Sprintf("member%05d@net%02d.test", i, i%50)
	}
	list := newList(t, []string{"default_nonmember_action=accept"}, members...)
	start := time.Now()
	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "all"))
	got, _ := delivered(t, id(t)+"@net.test", len(members))
	t.Logf("10,000 members through Postfix in %v", time.Since(start).Round(time.Millisecond))
	slices.Sort(members)
	if !slices.Equal(got, members) {
		t.Errorf("%d deliveries are not the 10,000 members once each", len(got))
	}
}

func TestThePathOfAPostIsTraced(t *testing.T) {
	list := newList(t, nil, three...)
	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "where is it"))
	delivered(t, id(t)+"@net.test", 3)
	var events []map[string]any
	eventually(t, "the end of the trace", func() bool {
		events = nil
		text := command(t, "trace", id(t)+"@net.test", "--json")
		if err := json.Unmarshal([]byte(text), &events); err != nil {
			t.Fatalf("trace --json: %v: %s", err, text)
		}
		return events[len(events)-1]["kind"] == "done"
	})
	seen := map[any]map[string]any{}
	for _, e := range events {
		seen[e["kind"]] = e
	}
	for _, kind := range []string{"kept", "stages", "prepared", "committed", "sent", "done"} {
		if seen[kind] == nil {
			t.Errorf("the trace lacks %q: %v", kind, events)
		}
	}
	if reply, _ := seen["sent"]["reply"].(string); seen["sent"]["accepted"] != 3.0 || !strings.HasPrefix(reply, "250 ") {
		t.Errorf("what the MTA said: %v", seen["sent"])
	}
	if text := command(t, "trace", events[0]["entry"].(string)); !strings.Contains(text, "post 1: 3 recipients in 1 chunk") {
		t.Errorf("the trace in words:\n%s", text)
	}
}
