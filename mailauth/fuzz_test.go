package mailauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk/message"
)

// FuzzVerify: any message and any key record are judged, by known words; and what was signed
// here verifies, whatever it is.
func FuzzVerify(f *testing.F) {
	k := edKey("lists.example.net", "s1")
	dns := published(f, []*Key{k})
	sealing := rsaKey("lists.example.net", "s2")
	for name, records := range published(f, []*Key{sealing}) {
		dns[name] = records
	}
	one := signed(f, k, mail)
	chain, _ := chainOf(f, 2)
	for _, s := range []string{one, chain, crlfs(rfc8463 + rfcMail), crlfs(rfc6376 + rfcMail), "DKIM-Signature: v=1; a=rsa-sha256; l=9; x=1\n\n", "ARC-Seal: i=1\nARC-Seal: i=2; cv=pass\n\nx", "", "\r\n\r\n\r"} {
		f.Add([]byte(s), rfcKey)
		f.Add([]byte(s), "v=DKIM1; k=ed25519; h=sha256; s=*; t=y:s; p=AAAA")
	}
	words := map[Result]bool{None: true, Pass: true, Fail: true, Neutral: true, Policy: true, TempError: true, PermError: true}
	f.Fuzz(func(t *testing.T, msg []byte, record string) {
		block, at, err := message.Split(strings.NewReader(string(msg)), int64(len(msg)))
		if err != nil {
			return
		}
		h := message.ParseHeader(block)
		v := Verifier{Resolver: everywhere(record), Now: func() time.Time { return noon }}
		got, err := v.Verify(context.Background(), h, strings.NewReader(string(msg[at:])))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.DKIM {
			if !words[s.Result] || (s.Result == Pass) != (s.Reason == "") {
				t.Fatalf("%+v", s)
			}
		}
		if a := got.AuthResults("x.example").String(); strings.ContainsAny(a, "\r\n\x00") {
			t.Fatalf("results %q", a)
		}
		if !words[got.ARC.Result] {
			t.Fatalf("%+v", got.ARC)
		}
		if h.Has("DKIM-Signature") || got.ARC.Result != None || strings.Contains(string(msg), "\r") || len(msg) > 10_000 {
			return
		}
		out := signed(t, k, string(msg))
		if s := verify(t, dns, out).DKIM; len(s) != 1 || s[0].Result != Pass {
			t.Fatalf("%q is signed so, and %+v:\n%q", msg, s, out)
		}
	})
}

// everywhere is DNS with one record at every name.
type everywhere string

func (e everywhere) LookupTXT(context.Context, string) ([]string, error) {
	return []string{string(e)}, nil
}
func (e everywhere) Exists(context.Context, string) (bool, error) { return true, nil }

// FuzzBodyHash: the hash that is computed in pieces is that of a canonical body written the
// slow way, straight from RFC 6376 3.4.
func FuzzBodyHash(f *testing.F) {
	for _, s := range []string{"", "\r\n", " \r\n\t\r\n", "a  b\t c \r\n\r\n\r\n", "a\rb\n\n x", "no end", " lead\r\n", "\r", "a\r", "a \r"} {
		f.Add([]byte(s), 3)
	}
	spaces := regexp.MustCompile(`[ \t]+`)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		for _, canon := range []Canon{Simple, Relaxed} {
			lines := strings.Split(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n")
			for i := range lines {
				if canon == Relaxed {
					lines[i] = strings.TrimRight(spaces.ReplaceAllString(lines[i], " "), " ")
				}
			}
			for len(lines) > 0 && lines[len(lines)-1] == "" {
				lines = lines[:len(lines)-1]
			}
			want := strings.Join(append(lines, ""), "\r\n")
			if len(lines) == 0 && canon == Simple {
				want = "\r\n"
			}
			h := newBodyHash(canon, sha256.New(), -1)
			for piece := range slices.Chunk(body, min(max(size, 1), 100)) {
				h.Write(piece)
			}
			if !bytes.Equal(h.Sum(), sum256(want)) || h.total != int64(len(want)) {
				t.Fatalf("%s body %q in pieces of %d: not the hash of %q", canon, body, size, want)
			}
		}
	})
}
