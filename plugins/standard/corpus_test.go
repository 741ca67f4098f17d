package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/test/corpus"
)

// style is a list as an administrator may set it up, and what it may change in a post.
type style struct {
	name string
	set  map[string]string
	// edits are header fields that the list's stages may add, change or take out.
	edits []string
	body  bool // the body may change, where nothing protects it
	// anonymous lists keep few fields, and refuse a header of which they cannot tell.
	anonymous bool
	wraps     bool // the post is an attachment of the list's
}

// always are fields that every list edits: it takes passwords, receipts and traces of
// delivery out, adds what a message must have, and says which list it is.
var always = []string{"Approved", "Approve", "X-Approved", "X-Approve", "Urgent", "Return-Receipt-To", "Disposition-Notification-To", "X-Confirm-Reading-To", "X-PMRQC",
	"Delivered-To", "X-Original-To", "Return-Path", "Bcc", "Resent-Bcc", "Archived-At", "Message-ID", "Date", "Precedence", "X-BeenThere",
	"List-Id", "List-Help", "List-Owner", "List-Post", "List-Subscribe", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Archive",
	"Authentication-Results", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "Message-ID-Hash", "X-Topics"}

var content = []string{"Content-Type", "Content-Transfer-Encoding", "MIME-Version", "Content-Disposition", "Content-ID", "Content-Description", "Content-Language"}

// changed are what a list that changes posts may edit.
var changed = slices.Concat([]string{"Subject", "Reply-To", "Sender", "From", "X-Original-From", "Cc"}, content, always)

var styles = []style{
	{name: "transparent", edits: always, set: map[string]string{"subject_prefix": "", "footer": "", "include_sender_header": "false", "dmarc_mitigate_action": "no_mitigation"}},
	{name: "discussion", edits: changed, body: true,
		set: map[string]string{"reply_goes_to_list": "point_to_list"}},
	{name: "announce", edits: changed, body: true,
		set: map[string]string{"allow_list_posts": "false", "default_member_action": "hold", "header": "Announcement of %(display_name)s\n", "reply_goes_to_list": "explicit_header", "reply_to_address": "office@example.org"}},
	{name: "filtering", edits: append([]string{"X-Content-Filtered-By"}, changed...), body: true,
		set: map[string]string{"filter_content": "true", "filter_extensions": "exe", "filter_types": "image", "convert_html_to_plaintext": "true", "filter_signed_action": "pass", "footer": ""}},
	{name: "wrapping", edits: changed, body: true, wraps: true,
		set: map[string]string{"dmarc_mitigate_action": "wrap_message", "dmarc_mitigate_unconditionally": "true", "footer": ""}},
	{name: "everything", edits: append([]string{"X-Content-Filtered-By", "X-Add", "X-Odd"}, changed...), body: true,
		set: map[string]string{"filter_content": "true", "filter_extensions": "exe", "filter_types": "image", "filter_leaves_note": "true", "filter_signed_action": "pass",
			"convert_html_to_plaintext": "true", "header": "Kopf für %(display_name)s\n", "footer": "Fuß – €\n-- \n%(display_name)s\n", "subject_prefix": "[Küche %05d]", "description": "Ünïcode",
			"dmarc_mitigate_action": "munge_from", "dmarc_mitigate_unconditionally": "true", "reply_goes_to_list": "point_to_list", "first_strip_reply_to": "true",
			"topics_enabled": "true", "topics": "all: .*", "topics_bodylines_limit": "5", "add_headers": "X-Add: ä", "remove_headers": "X-Odd", "archive_url": "https://lists.example.org/a/"}},
	{name: "anonymous", anonymous: true, edits: content, set: map[string]string{"anonymous_list": "true", "footer": "", "subject_prefix": "[Dév %d] "}},
}

func (s style) settings(t testing.TB) map[string]string {
	t.Helper()
	all := list.Defaults()
	for name, value := range s.set {
		if _, err := list.Describe(name); err != nil {
			continue // of a stage that is not there
		}
		if err := all.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return (*templates.Set)(nil).Settings(&list.List{Address: address.Address{Local: "dev", Domain: "lists.example.org"}, Settings: all}, "")
}

// authors' domains ask receivers to refuse what is not theirs, so that mlist munges. Keys
// are those of the signatures below.
var authorKey = ed25519.NewKeyFromSeed([]byte("an author's key for this test: 32"[:32]))

var authors = mailauth.NewFile(map[string][]string{
	"_dmarc.example.org":              {"v=DMARC1; p=reject"},
	"sel._domainkey.example.org":      {record(authorKey)},
	"brisbane._domainkey.example.com": {"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"},
})

func record(key ed25519.PrivateKey) string {
	r, err := mailauth.Record(key.Public())
	if err != nil {
		panic(err)
	}
	return r
}

// through runs all stages on a message to a list of a style, past the checks if it is
// approved.
func through(t testing.TB, s style, m corpus.Message, approved bool) handlertest.Result {
	t.Helper()
	c := post(string(m.Text))
	c.Settings, c.Approved = s.settings(t), approved
	got, err := handlertest.TryStages(t, c, stages(authors)...)
	if err != nil {
		t.Fatalf("%s: %s: %v", s.name, m.Name, err)
	}
	return got
}

// No message makes a stage fail, and what no stage edits keeps its octets.
func TestTheCorpusThroughAllStages(t *testing.T) {
	for _, s := range styles {
		t.Run(s.name, func(t *testing.T) {
			accepted, all := 0, 0
			for m := range corpus.All() {
				all++
				through(t, s, m, false) // for the checks
				got := through(t, s, m, true)
				if got.Verdict != sdk.Accept {
					if v := got.Verdict.Code; v != "too-many-hops" && v != "no-sender" && !(s.anonymous && v == "not-anonymous") {
						t.Errorf("%s: an approved post meets %+v", m.Name, got.Verdict)
					}
					continue
				}
				accepted++
				compare(t, s, m, got)
			}
			t.Logf("%d messages, %d accepted", all, accepted)
			if accepted < all*8/10 {
				t.Errorf("only %d of %d messages are accepted", accepted, all)
			}
		})
	}
}

// compare fails where a message was changed that should not have been.
func compare(t *testing.T, s style, m corpus.Message, got handlertest.Result) {
	t.Helper()
	in, err := message.Open(bytes.NewReader(m.Text), int64(len(m.Text)))
	if err != nil {
		t.Fatal(err)
	}
	before, after := without(in.Header.Bytes(), s.edits), without(got.Header.Bytes(), s.edits)
	if tooMany(in.Header) { // what lies beyond is one piece, and new fields come behind it
		after = after[:min(len(before), len(after))]
	}
	if before != after && !s.anonymous && !s.wraps {
		t.Errorf("%s: the header %s", m.Name, difference([]byte(before), []byte(after)))
	}
	body := m.Text[in.BodyAt:]
	root, _, err := message.ParseStructure(in.Header, in.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case s.wraps:
		if !bytes.Contains(got.Body, body) {
			t.Errorf("%s: the body %s", m.Name, difference(body, got.Body))
		}
	case s.body && s.set["filter_content"] == "true":
		sealed(t, m, root, in.Body, body, got.Body)
	case !s.body, root.Protected(in.Body):
		if !bytes.Equal(body, got.Body) {
			t.Errorf("%s: the body %s", m.Name, difference(body, got.Body))
		}
	case root.Encoding == "base64": // the last digits may change when text joins them
		if !bytes.Contains(got.Body, body) && !sameText(t, root, in.Body, got) {
			t.Errorf("%s: the body %s", m.Name, difference(body, got.Body))
		}
	default:
		if !kept(body, got.Body) {
			t.Errorf("%s: the body %s", m.Name, difference(body, got.Body))
		}
	}
}

func tooMany(h *message.Header) bool {
	n := 0
	for range h.Fields() {
		n++
	}
	return n >= message.MaxFields
}

// without is a header block without the fields that may change.
func without(block []byte, names []string) string {
	h := message.ParseHeader(bytes.Clone(block))
	if slices.Contains(names, "Content-Type") { // where it may go, so may all that describes it
		odd := 0
		for f := range h.Fields() {
			if strings.HasPrefix(strings.ToLower(f.Name), "content-") && odd < 200 {
				odd += h.Remove(f.Name)
			}
		}
	}
	for _, name := range names {
		h.Remove(name)
	}
	return strings.TrimRight(string(h.Bytes()), "\r\n") // the last line may have got an end
}

// difference shows where two texts part.
func difference(in, out []byte) string {
	at := 0
	for at < len(in) && at < len(out) && in[at] == out[at] {
		at++
	}
	return fmt.Sprintf("changes at octet %d from %.300q to %.300q", at, in[at:], out[at:])
}

// kept tells whether all octets of in are in out: text was put before, behind, or at up
// to two places between.
func kept(in, out []byte) bool {
	if bytes.Contains(out, in) {
		return true
	}
	first := 0
	for first < len(in) && first < len(out) && in[first] == out[first] {
		first++
	}
	last := 0
	for last < len(in) && last < len(out) && in[len(in)-1-last] == out[len(out)-1-last] {
		last++
	}
	if first+last >= len(in) {
		return true
	}
	middle := in[first : len(in)-last]
	return bytes.Contains(out[first:len(out)-last], middle)
}

// sameText tells whether the text that was in base64 still is the start or the middle of
// what is there now.
func sameText(t *testing.T, root *message.Part, b *message.Body, got handlertest.Result) bool {
	before, _, err := root.Content(b, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := message.ParseStructure(got.Header, message.NewBody(bytes.NewReader(got.Body), 0, int64(len(got.Body))))
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := after.Content(message.NewBody(bytes.NewReader(got.Body), 0, int64(len(got.Body))), 1<<30)
	return err == nil && bytes.Contains(text, before)
}

// sealed fails unless everything signed or encrypted is still there, octet for octet.
func sealed(t *testing.T, m corpus.Message, p *message.Part, b *message.Body, in, out []byte) {
	t.Helper()
	if len(p.Parts) == 0 && p.Protected(b) || p.Type == "multipart/signed" || p.Type == "multipart/encrypted" {
		from := p.Start
		if p.Head >= 0 {
			from = min(p.Head, p.End)
		}
		if !bytes.Contains(out, in[from:p.End]) {
			t.Errorf("%s: the protected\n%.1000q\nis not in\n%.2000q", m.Name, in[from:p.End], out)
		}
		return
	}
	for _, c := range p.Parts {
		sealed(t, m, c, b, in, out)
	}
}

// A signature of the author still holds behind a list that changes nothing: one by the
// strictest rules, on every message that can bear one.
func TestSignaturesHoldBehindATransparentList(t *testing.T) {
	transparent, discussion := styles[0], styles[1]
	signed, broken := 0, 0
	for m := range corpus.All() {
		if m.Name != "rfc6376-simple.eml" {
			m.Text = sign(t, authorKey, m.Text)
		}
		if !passes(t, m.Text) {
			if m.Name == "rfc6376-simple.eml" {
				t.Errorf("%s: the signature of the standard does not hold", m.Name)
			}
			continue // what has no From, or too much of something, cannot be signed
		}
		signed++
		got := through(t, transparent, m, true)
		if got.Verdict == sdk.Accept && !passes(t, got.Message) {
			t.Errorf("%s: the signature no longer holds\n%.2000q", m.Name, got.Message)
		}
		if got := through(t, discussion, m, true); got.Verdict == sdk.Accept && !passes(t, got.Message) {
			broken++
		}
	}
	t.Logf("%d signatures hold; %d of them break on a list that changes posts", signed, broken)
	if signed < 300 || broken < 200 {
		t.Errorf("%d signed, %d broken", signed, broken)
	}
}

// sign puts a signature by simple/simple (RFC 6376 3.4) above a message of lines that end
// in CRLF.
func sign(t *testing.T, key ed25519.PrivateKey, text []byte) []byte {
	t.Helper()
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	m, err := message.Open(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	body := append(bytes.TrimRight(text[m.BodyAt:], "\r\n"), "\r\n"...)
	if crs := bytes.TrimRight(text[m.BodyAt:], "\n\r"); bytes.Contains(text[len(crs):], []byte("\r\r")) {
		return text // an odd end of which little can be said
	}
	hash := sha256.Sum256(body)
	field := fmt.Sprintf("DKIM-Signature: v=1; a=ed25519-sha256; c=simple/simple; d=example.org; s=sel;\r\n\th=from:to:subject:mime-version:content-type;\r\n\tbh=%s; b=", base64.StdEncoding.EncodeToString(hash[:]))
	digest := sha256.New()
	for _, name := range []string{"from", "to", "subject", "mime-version", "content-type"} {
		var last []byte
		for f := range m.Header.Fields() {
			if strings.EqualFold(f.Name, name) {
				last = f.Raw
			}
		}
		digest.Write(last)
	}
	digest.Write([]byte(field))
	return append([]byte(field+base64.StdEncoding.EncodeToString(ed25519.Sign(key, digest.Sum(nil)))+"\r\n"), text...)
}

// passes tells whether the first signature of a message holds.
func passes(t *testing.T, text []byte) bool {
	t.Helper()
	m, err := message.Open(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	v := &mailauth.Verifier{Resolver: authors}
	got, err := v.Verify(t.Context(), m.Header, io.NewSectionReader(m.Body, 0, m.Body.Size()))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range got.DKIM {
		if s.Selector == "sel" || s.Selector == "brisbane" {
			return s.Result == mailauth.Pass
		}
	}
	return false
}
