package mime

import (
	"maps"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

// settings are those of a list that filters, as they are by default.
func settings(more map[string]string) map[string]string {
	s := map[string]string{"filter_content": "true", "collapse_alternatives": "true", "filter_action": "discard", "filter_signed_action": "hold"}
	maps.Copy(s, more)
	return s
}

func run(t testing.TB, msg string, set map[string]string) handlertest.Result {
	t.Helper()
	return handlertest.Run(t, Handler{}, handlertest.Case{Message: crlf(msg), Settings: settings(set)})
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const (
	head  = "From: ann@example.org\nMIME-Version: 1.0\n"
	mixed = head + "Content-Type: multipart/mixed; boundary=b\n\npre\n"
	text  = "--b\nContent-Type: text/plain;  charset=utf-8\nX-Odd :  1\n\nhello =20\n"
	exe   = "--b\nContent-Type: application/octet-stream; name=\"a.EXE\"\nContent-Transfer-Encoding: base64\n\nTVo=\n"
	png   = "--b\nContent-Type: image/png\nContent-Disposition: attachment; filename*=iso-8859-1''%E9.png\n\nx\n"
	end   = "--b--\npost\n"
	by    = "X-Content-Filtered-By: mlist\n"
	// one is the header of a message that the only part left stands for.
	one = "From: ann@example.org\nMIME-Version: 1.0\nContent-Type: text/plain;  charset=utf-8\n" + by + "\n"
)

func TestFilter(t *testing.T) {
	noEXE := map[string]string{"filter_extensions": "exe\nbat"}
	noImages := map[string]string{"filter_types": "image"}
	alternative := "Content-Type: multipart/alternative; boundary=c\n\n"
	plainC, htmlC := "--c\nContent-Type: text/plain\n\nplain\n", "--c\nContent-Type: text/html\n\n<p>html\n"
	for _, tt := range []struct {
		name, in string
		set      map[string]string
		want     string // "" is the message as it was
	}{
		{"off", mixed + text + exe + end, map[string]string{"filter_content": "false", "filter_extensions": "exe"}, ""},
		{"nothing to filter", mixed + text + png + end, noEXE, ""},
		{"by extension", mixed + text + exe + png + end, noEXE, mixed + text + png + end},
		{"the first part", mixed + exe + text + png + end, noEXE, mixed + text + png + end},
		{"the last part", mixed + text + png + exe + end, noEXE, mixed + text + png + end},
		{"the last part of a message without an end", mixed + text + png + exe, noEXE, mixed + text + png},
		{"two parts in a row", mixed + text + exe + exe + png + end, noEXE, mixed + text + png + end},
		{"by kind of type", mixed + text + png + exe + end, noImages, mixed + text + exe + end},
		{"by type", mixed + text + png + exe + end, map[string]string{"filter_types": "Image/PNG"}, mixed + text + exe + end},
		{"by types that may pass", mixed + text + png + exe + text + end, map[string]string{"pass_types": "multipart\ntext/plain"}, mixed + text + text + end},
		{"by extensions that may pass", mixed + text + png + exe + end, map[string]string{"pass_extensions": ".png"}, mixed + text + png + end},
		{"the only part that is left stands for the message", mixed + text + exe + end, noEXE, one + "hello =20\n"},
		{"a part with a note is left", mixed + text + exe + end, map[string]string{"filter_extensions": "exe", "filter_leaves_note": "true"},
			mixed + text + "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 7bit\n\n[The list has taken an attachment out: application/octet-stream \"a.EXE\", 3 octets]\n" + end},
		{"a note in the list's language", mixed + text + exe + end, map[string]string{"filter_extensions": "exe", "filter_leaves_note": "true", "text.attachment_removed": "[Enlev\u00e9 : %(file)s]"},
			mixed + text + "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n[Enlev=C3=A9 : application/octet-stream \"a.EXE\", 3 octets]\n" + end},
		{"a note on a name that is not ASCII", mixed + text + png + text + end, map[string]string{"filter_types": "image", "filter_leaves_note": "true"},
			mixed + text + "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n[The list has taken an attachment out: image/png \"=C3=A9.png\", 1 octets]\n" + text + end},
		{"alternatives become the first", head + strings.ReplaceAll(alternative, "=c", "=c ") + plainC + htmlC + "--c--\n", nil, head + "Content-Type: text/plain\n" + by + "\nplain\n"},
		{"the first that is not empty", head + alternative + "--c\n\n \n" + htmlC + "--c--\n", nil, head + "Content-Type: text/html\n" + by + "\n<p>html\n"},
		{"alternatives stay", head + alternative + plainC + htmlC + "--c--\n", map[string]string{"collapse_alternatives": "false"}, ""},
		{"alternatives within", mixed + "--b\n" + alternative + plainC + htmlC + "--c--\nepilogue\n" + exe + end, nil, mixed + "--b\nContent-Type: text/plain\n\nplain\n" + exe + end},
		{"an alternative is not wanted", mixed + "--b\n" + alternative + plainC + htmlC + "--c--\n" + exe + end, map[string]string{"filter_types": "text/plain"}, mixed + "--b\nContent-Type: text/html\n\n<p>html\n" + exe + end},
		{"a multipart of which nothing is left goes", mixed + "--b\n" + alternative + plainC + htmlC + "--c--\n" + exe + exe + end, map[string]string{"filter_types": "text"}, mixed + exe + exe + end},
		{"multiparts of one part", mixed + "--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: multipart/mixed; boundary=d\n\n--d\nContent-Type: text/plain\n\ndeep\n--d--\n--c--\n" + end, nil,
			head + "Content-Type: text/plain\n" + by + "\ndeep\n"},
		{"a message within", mixed + text + "--b\nContent-Type: message/rfc822\n\nSubject:  within\nContent-Type: multipart/mixed; boundary=c\n\n" +
			strings.ReplaceAll(text+exe, "--b", "--c") + "--c--\n" + end, noEXE, mixed + text + "--b\nContent-Type: message/rfc822\n\nSubject:  within\nContent-Type: text/plain;  charset=utf-8\nMIME-Version: 1.0\n\nhello =20\n" + end},
		{"a message within of which nothing is left", mixed + text + text + "--b\nContent-Type: message/rfc822\n\nSubject: x\nContent-Type: image/png\n\nx\n" + end, noImages, mixed + text + text + end},
		{"the message is a message", head + "Content-Type: message/rfc822\n\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + text + text + exe + end, noEXE, head + "Content-Type: message/rfc822\n\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + text + text + end},
		{"an empty text and an attachment", mixed + "--b\nContent-Type: text/plain\n\n" + png + end, nil, head + "Content-Type: image/png\nContent-Disposition: attachment; filename*=iso-8859-1''%E9.png\n" + by + "\nx\n"},
		{"a digest keeps its one message", head + "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nx\n--b--\n", nil, ""},
		{"a type that a message's header cannot say", mixed + "--b\nContent-Type: text/plain; name=\"\xe9\"\n\nx\n--b--\n", nil, ""},
		{"HTML in the message", head + "Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n<p>caf=E9</p>\n", map[string]string{"convert_html_to_plaintext": "true"},
			head + "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n" + by + "\ncaf=C3=A9\n"},
		{"HTML in a part", mixed + "--b\nX-A: 1\nContent-Type: text/html\nContent-ID: <x>\n\n<p>a<p>b\n" + exe + end, map[string]string{"convert_html_to_plaintext": "true"},
			mixed + "--b\nX-A: 1\nContent-ID: <x>\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 7bit\n\na\n\nb\n" + exe + end},
		{"HTML that is attached stays", mixed + text + "--b\nContent-Type: text/html\nContent-Disposition: attachment\n\n<p>a\n" + end, map[string]string{"convert_html_to_plaintext": "true"}, ""},
		{"parts of nothing", mixed + "--b\n--b\n" + exe + text + text + end, noEXE, mixed + "--b\n--b\n" + text + text + end},
		{"a multipart whose boundary is nowhere", head + "Content-Type: multipart/mixed; boundary=b\n\nx\n", noEXE, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.in, tt.set)
			if got.Verdict != sdk.Accept {
				t.Fatalf("verdict %+v", got.Verdict)
			}
			want := tt.want
			if want == "" {
				want = tt.in
			} else if !strings.Contains(want, by) {
				want = strings.Replace(want, "boundary=b\n\n", "boundary=b\n"+by+"\n", 1)
				if strings.Contains(tt.in, "Content-Type: message/rfc822\n\nSubject: x\nContent-Type: multipart") {
					want = head + "Content-Type: message/rfc822\n" + by + strings.TrimPrefix(tt.want, head+"Content-Type: message/rfc822\n")
				}
			}
			if string(got.Message) != crlf(want) {
				t.Errorf("got\n%s\nwant\n%s", got.Message, want)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	signed := "Content-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\n\n--s\nContent-Type: multipart/mixed; boundary=b\n\n"
	signature := "--s\nContent-Type: application/pgp-signature; name=signature.asc\n\nx\n--s--\n"
	for _, tt := range []struct {
		name, in string
		set      map[string]string
		want     string // kind and code; "accept" wants the message as it was
	}{
		{"the message's own type", head + "Content-Type: image/png\n\nx\n", map[string]string{"filter_types": "image"}, "discard filtered-type"},
		{"a type that may not pass", mixed + text + end, map[string]string{"pass_types": "text/plain", "filter_action": "reject"}, "reject filtered-type"},
		{"the message's own name", head + "Content-Type: a/b; name=x.exe\n\nx\n", map[string]string{"filter_extensions": "exe", "filter_action": "forward"}, "hold filtered-type"},
		{"nothing is left", mixed + exe + exe + end, map[string]string{"filter_extensions": "exe"}, "discard filtered-empty"},
		{"nothing is left, and it is preserved", mixed + exe + end, map[string]string{"filter_extensions": "exe", "filter_action": "preserve"}, "hold filtered-empty"},
		{"a signed message passes", head + signed + text + "--b--\n" + signature, map[string]string{"filter_extensions": "exe", "convert_html_to_plaintext": "true"}, "accept"},
		{"a signed text passes where only text may", head + signed + text + "--b--\n" + signature, map[string]string{"pass_types": "multipart/mixed\ntext", "pass_extensions": "txt"}, "accept"},
		{"a signed message that would be changed", head + signed + text + exe + "--b--\n" + signature, map[string]string{"filter_extensions": "exe"}, "hold filtered-signed"},
		{"one that is let pass", head + signed + text + exe + "--b--\n" + signature, map[string]string{"filter_extensions": "exe", "filter_signed_action": "pass"}, "accept"},
		{"one that is rejected", head + signed + text + exe + "--b--\n" + signature, map[string]string{"filter_extensions": "exe", "filter_signed_action": "reject"}, "reject filtered-signed"},
		{"signed alternatives are not collapsed", mixed + "--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\n-----BEGIN PGP SIGNED MESSAGE-----\nx\n--c\nContent-Type: text/html\n\nx\n--c--\n" + text + end, nil, "accept"},
		{"an encrypted message", head + "Content-Type: multipart/encrypted; boundary=b\n\n--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--b\nContent-Type: application/octet-stream; name=x.exe\n\n-----BEGIN PGP MESSAGE-----\n--b--\n", map[string]string{"filter_extensions": "exe", "filter_types": "application/octet-stream"}, "accept"},
		{"an encrypted message where only text may pass", head + "Content-Type: application/pkcs7-mime\n\nx\n", map[string]string{"pass_types": "text"}, "hold filtered-signed"},
		{"what holds a signed part is not taken out", mixed + text + "--b\nContent-Type: message/rfc822\n\n" + signed + "--b--\n--s--\n" + end, map[string]string{"filter_types": "message"}, "hold filtered-signed"},
		{"too much to change", mixed + strings.Repeat("--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n", 3000) + end, nil, "hold mime-limits"},
		{"too many parts", mixed + strings.Repeat("--b\n\nx\n", 10_001) + end, nil, "hold mime-limits"},
		{"too deep to look into", head + strings.Repeat("Content-Type: message/rfc822\n\n", 12) + "x\n", map[string]string{"filter_extensions": "exe"}, "hold mime-limits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.in, tt.set)
			have := string(got.Verdict.Kind)
			if got.Verdict.Code != "" {
				have += " " + got.Verdict.Code
			}
			if have != tt.want || have == "accept" && string(got.Message) != crlf(tt.in) {
				t.Errorf("verdict %+v, message\n%s", got.Verdict, got.Message)
			}
			// A moderator's word stands, and the post passes as it is.
			again := handlertest.Run(t, Handler{}, handlertest.Case{Message: crlf(tt.in), Settings: settings(tt.set), Approved: true})
			if again.Verdict != sdk.Accept || string(again.Message) != crlf(tt.in) {
				t.Errorf("approved: verdict %+v, message\n%s", again.Verdict, again.Message)
			}
		})
	}
}

// As many parts as there may be, every second of them taken out: what is left is all there.
func TestManyParts(t *testing.T) {
	in := mixed + strings.Repeat(text+exe, 4900) + end
	for _, set := range []map[string]string{{"filter_extensions": "exe"}, {"filter_extensions": "exe", "filter_leaves_note": "true"}} {
		got := run(t, in, set)
		if got.Verdict != sdk.Accept || strings.Count(string(got.Body), crlf(text)) != 4900 || strings.Contains(string(got.Body), "TVo=") {
			t.Errorf("%v: verdict %+v, %d octets", set, got.Verdict, len(got.Body))
		}
		if n := strings.Count(string(got.Body), "[The list has taken"); n > maxNotes || (n > 0) != (set["filter_leaves_note"] != "") {
			t.Errorf("%d notes", n)
		}
		if len(got.Notes["mime.removed"]) > 1100 {
			t.Errorf("a note of %d octets", len(got.Notes["mime.removed"]))
		}
	}
}

func TestNotes(t *testing.T) {
	got := run(t, mixed+text+exe+png+text+end, map[string]string{"filter_extensions": "exe", "filter_types": "image"})
	if want := `application/octet-stream "a.EXE", 3 octets; image/png "é.png", 1 octets`; got.Notes["mime.removed"] != want {
		t.Errorf("removed %q", got.Notes["mime.removed"])
	}
}

// Whatever comes, nothing unwanted is left, and filtering again changes nothing more.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{mixed + text + exe + png + end, mixed + "--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\n--c\nContent-Type: text/html\n\n<b>x\n--c--\n--b--",
		head + "Content-Type: message/rfc822\n\nContent-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-7\nContent-Transfer-Encoding: base64\n\nPGI+\n--b--\n", "", "\n", "--b\n--b--\n",
		mixed + "--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n--b--\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c--\n--b\n"} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(255))
	}
	f.Fuzz(func(t *testing.T, in string, bits uint8) {
		set := map[string]string{}
		for i, s := range []string{"filter_extensions=exe", "filter_types=image", "pass_types=multipart\ntext\nmessage", "convert_html_to_plaintext=true", "filter_leaves_note=true", "filter_signed_action=pass", "collapse_alternatives=false"} {
			if name, value, _ := strings.Cut(s, "="); bits>>i&1 == 1 {
				set[name] = value
			}
		}
		v, out, changed := directly(t, in, settings(set))
		if v != sdk.Accept || !changed {
			return
		}
		unwanted(t, out, settings(set))
		// What one run has made simpler another may make simpler still, but not for ever.
		for range 5 {
			v, again, changed := directly(t, out, settings(set))
			if v != sdk.Accept {
				t.Fatalf("%q with %v becomes %q, and then %+v", in, set, out, v)
			}
			if !changed {
				return
			}
			out = again
		}
		t.Fatalf("%q with %v never comes to rest: %q", in, set, out)
	})
}

// unwanted fails if the rules refuse something that is in a filtered post.
func unwanted(t testing.TB, out string, set map[string]string) {
	m, err := message.Open(strings.NewReader(out), int64(len(out)))
	if err != nil {
		t.Fatal(err)
	}
	f := newFilter(&sdk.Post{Header: m.Header, Body: m.Body, List: sdk.List{Settings: set}})
	root, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n *node)
	walk = func(n *node) {
		if why := f.refuses(n); why != "" && !n.holds {
			t.Fatalf("%s\n%q", why, out)
		}
		for _, c := range n.parts {
			if !n.sealed {
				walk(c)
			}
		}
	}
	walk(root)
}

// directly is run without the wire, which has its own tests.
func directly(t testing.TB, in string, set map[string]string) (v sdk.Verdict, out string, changed bool) {
	m, err := message.Open(strings.NewReader(in), int64(len(in)))
	if err != nil {
		t.Fatal(err)
	}
	p := &sdk.Post{Header: m.Header, Body: m.Body, List: sdk.List{Address: "dev@lists.example.org", Settings: set}}
	if v, err = (Handler{}).Handle(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	changed = len(p.Header.Ops())+len(p.Body.Splices()) > 0
	if !changed && b.String() != in {
		t.Fatalf("%q becomes %q without an edit", in, b.String())
	}
	return v, b.String(), changed
}
