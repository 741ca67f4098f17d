package digest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

var update = flag.Bool("update", false, "write the golden files")

var settings = map[string]string{
	"digests_enabled": "true", "display_name": "Dev", "subject_prefix": "[%(display_name)s %05d] ", "archive_url": "https://lists.example.org/archives/dev",
	"digest_header": "Welcome to %(display_name)s.\n", "digest_footer": "__\n%(display_name)s, to leave: %(leave_address)s\n",
}

// crlf writes a message as mail has it.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// samples are posts of many kinds.
var samples = []string{
	crlf("Received: from a by b\nDate: Mon, 2 Mar 2026 10:00:00 +0100\nFrom: =?utf-8?q?=C3=84nn_Author?= <ann@example.net>\nTo: dev@lists.example.org\n" +
		"Subject: [Dev 00041] Re: =?utf-8?b?R3LDvMOfZQ==?= from here\nMessage-ID: <1@example.net>\nX-Mailer: toy\nList-Id: <dev.lists.example.org>\n" +
		"Archived-At: <https://lists.example.org/archives/dev/message/ABC/>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n" +
		"Content-Transfer-Encoding: quoted-printable\nIn-Reply-To: <0@example.net>\nReferences: <0@example.net>\n\nGr=FC=DFe\n=66rom Ann\n" + strings.Repeat("-", 30) + "\nnot the end\n"),
	crlf("From: bob@example.com\nSubject: A picture\nMessage-ID: <2@example.com>\nDate: Mon, 2 Mar 2026 11:00:00 +0000\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/mixed; boundary=b1\n\n--b1\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nSee the picture, \u65e5\u672c\n" +
		"--b1\nContent-Type: image/png; name=\"cat.png\"\nContent-Disposition: attachment; filename=\"cat.png\"\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--b1--\n"),
	"From: cy@example.com\nSubject: lone LF\n\nlines end\nin LF only",
	crlf("From: dee@example.com\nMessage-ID: <4@example.com>\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"x y\"\n\n" +
		"--x y\nContent-Type: text/html; charset=utf-8\n\n<html><head><title>t</title><style>p{}</style></head><body><p>Only &lt;HTML&gt; &amp; more</p><ul><li>one<li>two</ul></body></html>\n--x y--\n"),
	crlf("From: eve@example.com\nSubject: signed\nMessage-ID: <5@example.com>\nMIME-Version: 1.0\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\n\n" +
		"--s\nContent-Type: text/plain\n\nI said so. \n--s\nContent-Type: application/pgp-signature\n\n-----BEGIN PGP SIGNATURE-----\n--s--\n"),
	"no header at all\r\n",
}

// issue makes what mlist files: a multipart/digest of the posts.
func issue(posts ...string) string {
	var b strings.Builder
	b.WriteString(crlf("From: Dev <dev-request@lists.example.org>\nTo: dev@lists.example.org\nSubject: Dev Digest, Vol 2, Issue 3\nDate: Mon, 2 Mar 2026 12:00:00 +0000\n" +
		"Message-ID: <digest@lists.example.org>\nMIME-Version: 1.0\nContent-Type: multipart/digest; boundary=\"mlist-0123456789\"\nContent-Transfer-Encoding: 8bit\n\n"))
	for _, p := range posts {
		b.WriteString("--mlist-0123456789\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + p + "\r\n")
	}
	b.WriteString("--mlist-0123456789--\r\n")
	return b.String()
}

func tryForm(t testing.TB, form string, set map[string]string, posts ...string) (handlertest.Result, error) {
	t.Helper()
	s := templates.ForHandlers("en")
	maps.Copy(s, settings)
	maps.Copy(s, set)
	return handlertest.TryStages(t, handlertest.Case{Message: issue(posts...), Settings: s, Approved: true,
		Envelope: sdk.Envelope{Received: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), Flags: []string{sdk.FlagDigest}},
		Notes:    map[string]string{"digest.form": form, "digest.volume": "2", "digest.issue": "3"}}, Stages()...)
}

func compose(t testing.TB, form string, set map[string]string, posts ...string) handlertest.Result {
	t.Helper()
	got, err := tryForm(t, form, set, posts...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAPostIsKeptForTheDigest(t *testing.T) {
	for enabled, want := range map[string]int{"true": 1, "false": 0} {
		got, err := handlertest.TryStages(t, handlertest.Case{Message: samples[0], Settings: map[string]string{"digests_enabled": enabled}}, Stages()...)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Kept) != want || string(got.Message) != samples[0] || len(got.Rules) > 0 || want == 1 && string(got.Kept[sdk.KeepDigest]) != samples[0] {
			t.Errorf("enabled %s: kept %v, message\n%s", enabled, got.Kept, got.Message)
		}
	}
}

// A digest is the same for all: it names no reader, and topics choose nobody.
func TestADigestIsTheSameForAll(t *testing.T) {
	for _, form := range []string{"mime", "plain", "summary"} {
		got := compose(t, form, map[string]string{"personalize": "full", "topics_enabled": "true", "topics": "Bugs: bug",
			"digest_header": "Dear %(user_name)s,\nnews:\n", "digest_footer": "To leave: %(leave_address)s\nSent to %(user_address)s\n"}, samples[0])
		text := string(got.Message)
		if strings.Contains(text, "Dear") || strings.Contains(text, "Sent to") || !strings.Contains(text, "news:") || !strings.Contains(text, "To leave: dev-leave@lists.example.org") {
			t.Errorf("%s:\n%s", form, text)
		}
		if len(got.Rules) != 1 || len(got.Rules[0].Topics) > 0 {
			t.Errorf("%s: rules %+v", form, got.Rules)
		}
	}
}

// A post that is HTML alone reads as it would where the filter makes text of it.
func TestHTMLInAPlainDigest(t *testing.T) {
	got := compose(t, "plain", nil, crlf("From: dee@example.com\nSubject: x\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n"+
		"<p>See <a href=\"https://a.example/\">this</a>.</p><blockquote>said</blockquote><table><tr><td>1<td>2</table><script>no</script>"))
	if want := "See this <https://a.example/>.\r\n\r\n> said\r\n\r\n1 | 2\r\n"; !strings.Contains(string(got.Body), want) {
		t.Errorf("the digest is\n%s", got.Body)
	}
}

// One golden file for each form.
func TestForms(t *testing.T) {
	for form, mode := range map[string]string{"mime": "mime_digests", "plain": "plaintext_digests", "summary": "summary_digests"} {
		t.Run(form, func(t *testing.T) {
			got := compose(t, form, nil, samples...)
			if got.Verdict != sdk.Accept || len(got.Rules) != 1 || !slices.Equal(got.Rules[0].Modes, []string{mode}) || !slices.Equal(got.Rules[0].Statuses, []string{"enabled"}) {
				t.Errorf("verdict %+v, rules %+v", got.Verdict, got.Rules)
			}
			path := filepath.Join("testdata", form+".eml")
			if *update {
				if err := os.WriteFile(path, got.Message, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Message, want) {
				t.Errorf("the digest is\n%s\nwant\n%s", got.Message, want)
			}
			if again := compose(t, form, nil, samples...); !bytes.Equal(again.Message, got.Message) {
				t.Error("a second run makes another digest")
			}
		})
	}
}

// parts takes a multipart apart.
func parts(t *testing.T, kind string, body io.Reader, want string) (out []*multipart.Part, texts []string) {
	t.Helper()
	have, params, err := mime.ParseMediaType(kind)
	if err != nil || have != want {
		t.Fatalf("%q is no %s: %v", kind, want, err)
	}
	for r := multipart.NewReader(body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out, texts
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		out, texts = append(out, p), append(texts, string(b))
	}
}

func TestAMIMEDigestHasThePostsAsTheyWere(t *testing.T) {
	got := compose(t, "mime", nil, samples...)
	m, err := mail.ReadMessage(bytes.NewReader(got.Message))
	if err != nil {
		t.Fatal(err)
	}
	outer, texts := parts(t, m.Header.Get("Content-Type"), m.Body, "multipart/mixed")
	if len(outer) != 4 || !strings.Contains(texts[0], "Welcome to Dev.") || !strings.Contains(texts[1], "Today's Topics:") || !strings.Contains(texts[3], "to leave: dev-leave@") {
		t.Fatalf("%d parts: %q", len(outer), texts)
	}
	inner, posts := parts(t, outer[2].Header.Get("Content-Type"), strings.NewReader(texts[2]), "multipart/digest")
	if len(posts) != len(samples) {
		t.Fatalf("%d posts", len(posts))
	}
	for i, post := range posts {
		if inner[i].Header.Get("Content-Type") != "message/rfc822" {
			t.Errorf("post %d is %v", i+1, inner[i].Header)
		}
		if i == 5 {
			if post != samples[i] {
				t.Errorf("post %d is %q", i+1, post)
			}
			continue
		}
		eol := "\r\n"
		if i == 2 {
			eol = "\n"
		}
		_, wantBody, _ := strings.Cut(samples[i], eol+eol)
		header, body, ok := strings.Cut(post, eol+eol)
		if !ok || body != wantBody {
			t.Errorf("body of post %d is %q, want %q", i+1, body, wantBody)
		}
		if !strings.HasPrefix(header, fmt.Sprintf("Message: %d%s", i+1, eol)) || strings.Contains(header, "X-Mailer") || strings.Contains(header, "Received") {
			t.Errorf("header of post %d is\n%s", i+1, header)
		}
		for line := range strings.SplitSeq(header, eol) {
			if !strings.HasPrefix(line, "Message: ") && !strings.Contains(samples[i], line+eol) {
				t.Errorf("post %d has the line %q, which the author did not write", i+1, line)
			}
		}
	}
}

// Python's email package reads the digest as a mail program does: another's parser.
func TestAMIMEDigestIsWhatAnotherParserExpects(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 here")
	}
	got := compose(t, "mime", nil, samples...)
	cmd := exec.Command(python, "-c", `
import email, email.policy, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
def show(p, depth):
    print(" " * depth + p.get_content_type(), "defects" if p.defects else "")
    for c in p.iter_parts() if p.is_multipart() else []:
        show(c, depth + 1)
show(m, 0)
digest = list(m.iter_parts())[2]
for part in digest.iter_parts():
    post = part.get_content()
    body = post.get_body(("plain", "html"))
    print(repr(str(post["subject"])), repr(body.get_content()) if body else None)
`)
	cmd.Stdin = bytes.NewReader(got.Message)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"multipart/mixed \n text/plain \n text/plain \n multipart/digest \n  message/rfc822 \n", "'[Dev 00041] Re: Gr\u00fc\u00dfe from here' 'Gr\u00fc\u00dfe\\nfrom Ann\\n",
		"'A picture' 'See the picture, \u65e5\u672c'", "image/png", "multipart/signed", "'signed' 'I said so. '"} {
		if !strings.Contains(strings.ReplaceAll(string(out), `\r\n`, `\n`), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// The lines between posts are where RFC 1153 has them, and nowhere else.
func TestAPlainDigestCanBeTakenApart(t *testing.T) {
	got := compose(t, "plain", nil, samples...)
	body := strings.ReplaceAll(string(got.Body), "\r\n", "\n")
	preamble, rest, ok := strings.Cut(body, "\n\n"+strings.Repeat("-", 70)+"\n\n")
	if !ok || strings.Contains(preamble, "---") {
		t.Fatalf("preamble\n%s", preamble)
	}
	pieces := strings.Split(rest, "\n\n"+strings.Repeat("-", 30)+"\n\n")
	if len(pieces) != len(samples)+2 {
		t.Fatalf("%d pieces", len(pieces))
	}
	for i, want := range []string{"Message: 1\n", "Message: 2\n", "Message: 3\n", "Message: 4\n", "Message: 5\n", "Message: 6\n", "Subject: Digest Footer\n\n", "End of Dev Digest, Vol 2, Issue 3\n*********************************\n"} {
		if !strings.HasPrefix(pieces[i], want) {
			t.Errorf("piece %d is\n%s", i+1, pieces[i])
		}
	}
	for i, want := range []string{"Gr\u00fc\u00dfe\nfrom Ann\n " + strings.Repeat("-", 30) + "\nnot the end", "See the picture, \u65e5\u672c\n\n[An attachment named cat.png is not shown: image/png,",
		"lines end\nin LF only", "Only <HTML> & more", "I said so.", "no header at all"} {
		if !strings.Contains(pieces[i], want) {
			t.Errorf("piece %d is\n%s\nwithout %q", i+1, pieces[i], want)
		}
	}
	if got.Header.Get("Content-Type") != "text/plain; charset=utf-8" || got.Header.Get("Content-Transfer-Encoding") != "8bit" {
		t.Errorf("header\n%s", got.Header.Bytes())
	}
}

// What RFC 1153 says of an enclosed message: these fields in this order, no empty lines around
// the text, and of the lines in it none that is one between messages. What is said of the content
// is true of what stands there, so that a program that takes the digest apart can show it.
func TestMessagesOfAPlainDigestAreAsRFC1153HasThem(t *testing.T) {
	post := crlf("Content-Type: multipart/alternative; boundary=b\nKeywords: one, two\nMessage-ID: <1@x.test>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nReceived: from a\n" +
		"Cc: =?utf-8?q?Doe=2C_J=C3=BCrgen?= <j@x.test>, Plain Name <p@x.test>\nTo: team: dev@lists.example.org;\n" +
		"From: =?utf-8?q?boss=40corp=2Etest=3E=2C?= <eve@x.test>\nMIME-Version: 1.0\nDate: Mon, 2 Mar 2026 10:00:00 +0100\n\n" +
		"--b\nContent-Type: text/html\n\n<p>no</p>\n--b\nContent-Type: text/plain\n\n \n\t\n  indented\n\n" + strings.Repeat("-", 30) + " \nbye\n  \n\n--b--\n")
	got := compose(t, "plain", map[string]string{"digest_header": strings.Repeat("-", 70) + "\n", "digest_footer": ""}, post, crlf("Subject: two\nContent-Type: text/plain; charset=iso-8859-1\n\nd\xe9j\xe0 vu\n"))
	body := strings.ReplaceAll(string(got.Body), "\r\n", "\n")
	_, rest, ok := strings.Cut(body, "\n\n"+strings.Repeat("-", 70)+"\n\n")
	want := "Message: 1\nDate: Mon, 2 Mar 2026 10:00:00 +0100\nFrom: \"boss@corp.test>,\" <eve@x.test>\nTo: dev@lists.example.org\nCc: \"Doe, Jürgen\" <j@x.test>, Plain Name <p@x.test>\n" +
		"Subject: Grüße\nMessage-ID: <1@x.test>\nKeywords: one, two\n\n  indented\n\n " + strings.Repeat("-", 30) + " \nbye\n\n" + strings.Repeat("-", 30) + "\n\n" +
		"Message: 2\nSubject: two\nContent-Type: text/plain; charset=utf-8\n\ndéjà vu\n\n" + strings.Repeat("-", 30) + "\n\nEnd of Dev Digest, Vol 2, Issue 3\n" + strings.Repeat("*", 33) + "\n"
	if !ok || rest != want {
		t.Errorf("behind the preamble stands\n%s\nwant\n%s", rest, want)
	}
}

func TestWhatIsTooMuchIsCutWithAWord(t *testing.T) {
	long := "From: a@x.test\r\nSubject: " + strings.Repeat("s", 2000) + "\r\nMessage-ID: <l@x>\r\n\r\n" + strings.Repeat("a long line ", 1000) + "\r\n"
	big := "From: a@x.test\r\nSubject: big\r\nArchived-At: <https://lists.example.org/archives/dev/message/BIG/>\r\n\r\n" + strings.Repeat("0123456789012345678901234567890123456789\r\n", 10_000)
	var many []string
	for range 500 {
		many = append(many, "To: "+strings.Repeat("someone@x.test, ", 100)+"b@x.test\r\nCc: "+strings.Repeat("\u00e4", 400)+"\r\n"+big[:10_000])
	}
	got := compose(t, "plain", nil, long)
	if got.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
		t.Errorf("header\n%s", got.Header.Bytes())
	}
	for line := range bytes.Lines(compose(t, "plain", nil, long, samples[0]).Body) {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if got := compose(t, "plain", nil, big); len(got.Body) > maxPost+2000 || !bytes.Contains(got.Body, []byte("[The rest of this post is left out here. All of it: https://lists.example.org/archives/dev/message/BIG/]")) {
		t.Errorf("%d octets", len(got.Body))
	}
	for _, form := range []string{"plain", "mime", "summary"} {
		got := compose(t, form, nil, many...)
		if form == "plain" && (len(got.Body) > 3*maxWhole || !bytes.Contains(got.Body, []byte("left out"))) {
			t.Errorf("%s: %d octets", form, len(got.Body))
		}
	}
}

func TestOddDigests(t *testing.T) {
	plain := map[string]string{"digest_header": "", "digest_footer": " \n", "archive_url": "", "subject_prefix": ""}
	got := compose(t, "mime", plain, samples[2])
	if bytes.Contains(got.Body, []byte("Footer")) || !bytes.Contains(got.Body, []byte("Today's Topics (1 message)")) {
		t.Errorf("digest\n%s", got.Body)
	}
	if got := compose(t, "summary", plain, samples[0]); !bytes.Contains(got.Body, []byte("Message-ID: 1@example.net\r\n")) || !bytes.Contains(got.Body, []byte("[Dev 00041] Re:")) {
		t.Errorf("digest\n%s", got.Body)
	}
	if got := compose(t, "plain", nil, "Subject: x\r\n\r\n"); !bytes.Contains(got.Body, []byte("[This post has no text.]")) {
		t.Errorf("digest\n%s", got.Body)
	}
	_, err := tryForm(t, "gothic", nil, samples[0])
	if err == nil {
		t.Error("a form that is none")
	}
	for _, message := range []string{samples[0], issue()} {
		if _, err := handlertest.TryStages(t, handlertest.Case{Message: message, Envelope: sdk.Envelope{Flags: []string{sdk.FlagDigest}}, Notes: map[string]string{"digest.form": "mime"}}, Stages()...); err == nil {
			t.Errorf("a digest was made of\n%s", message)
		}
	}
	few := (&stage{Config{MIMEHeaders: []string{"Subject"}}}).config
	for _, name := range []string{"MIME-Version", "content-type", "Content-Transfer-Encoding", "subject"} {
		if !(&digest{config: &few}).keeps(name) {
			t.Errorf("field %s goes", name)
		}
	}
	if err := (&Config{MIMEHeaders: []string{"a b"}}).Validate(); err == nil {
		t.Error("a field that is none was taken")
	}
}

// FuzzForms: no post keeps a digest from being made, or asks for what mlist refuses.
func FuzzForms(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s), []byte(samples[1]))
	}
	f.Add([]byte("Content-Type: multipart/mixed; boundary=mlist-0123456789\r\n\r\n--mlist-0123456789--\r\n"), []byte("From x\nSubject: =?x?q?=ff?="))
	f.Add([]byte("Content-Type: text/html\n\n<p><script>x</p>&#0;<br/><b"), []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if bytes.Contains(a, []byte("--mlist-0123456789")) || bytes.Contains(b, []byte("--mlist-0123456789")) {
			return // mlist's boundary is random
		}
		for form := range forms {
			got, err := tryForm(t, form, nil, string(a), string(b))
			if err != nil || got.Verdict != sdk.Accept {
				t.Fatalf("%s: %v, %+v", form, err, got.Verdict)
			}
			if form != "mime" && bytes.Contains(got.Body, []byte{0}) {
				t.Fatalf("%s: %q", form, got.Body)
			}
		}
	})
}
