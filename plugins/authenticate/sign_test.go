package authenticate

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

// ours is a configuration of stage sign with keys for lists.example.org, and DNS that has them.
func ours(t testing.TB, dns mailauth.File, algorithms ...string) map[string]any {
	t.Helper()
	var keys []map[string]any
	for i, algorithm := range algorithms {
		text, err := mailauth.Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		selector := "k" + string(rune('0'+i))
		k, err := mailauth.NewKey("lists.example.org", selector, text)
		if err != nil {
			t.Fatal(err)
		}
		record, err := mailauth.Record(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		dns[selector+"._domainkey.lists.example.org"] = []string{record}
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, map[string]any{"domain": "lists.example.org", "selector": selector, "key_file": path})
	}
	return map[string]any{"keys": keys}
}

// verified is what a receiver finds.
func verified(t testing.TB, dns mailauth.Resolver, msg []byte) mailauth.Verdict {
	t.Helper()
	block, at, err := message.Split(bytes.NewReader(msg), int64(len(msg)))
	if err != nil {
		t.Fatal(err)
	}
	v := mailauth.Verifier{Resolver: dns, Now: func() time.Time { return noon }}
	got, err := v.Verify(t.Context(), message.ParseHeader(block), bytes.NewReader(msg[at:]))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// through runs authenticate, a stage that changes the post, and sign.
func through(t testing.TB, dns mailauth.File, config map[string]any, msg string, change sdk.Handler) handlertest.Result {
	t.Helper()
	c := handlertest.Case{Message: msg, Envelope: sdk.Envelope{Received: noon}}
	first := handlertest.Run(t, Authenticate(dns).Handler, c)
	c.Message, c.Notes = string(first.Message), first.Notes
	if change != nil {
		changed := handlertest.Run(t, change, c)
		c.Message = string(changed.Message)
	}
	c.Config = config
	return handlertest.Run(t, Sign().Handler, c)
}

// footer is what lists do to posts.
type footer struct{}

func (footer) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Header.Replace("Subject", "[dev] "+p.Header.Get("Subject"))
	return sdk.Accept, p.Body.Splice(message.Splice{Offset: p.Body.Size(), Insert: []byte("_______\r\nfooter\r\n")})
}

func TestWhatTheListSendsVerifies(t *testing.T) {
	k, dns := author(t)
	config := ours(t, dns, "rsa", "ed25519")
	for name, msg := range map[string]string{
		"plain": plain, "signed": signedBy(t, k, plain), "LF": strings.ReplaceAll(plain, "\r\n", "\n"),
		"8-bit": "From: Änn <ann@example.org>\r\nSubject: caf\xc3\xa9\r\n\r\n\xff\r\n", "no header": "hello",
	} {
		t.Run(name, func(t *testing.T) {
			got := through(t, dns, config, msg, footer{})
			again := through(t, dns, config, msg, footer{})
			if !bytes.Equal(got.Message, again.Message) {
				t.Errorf("a second run gives\n%s\nafter\n%s", again.Message, got.Message)
			}
			v := verified(t, dns, got.Message)
			for _, s := range v.DKIM[:2] {
				if s.Result != mailauth.Pass || s.Domain != "lists.example.org" {
					t.Errorf("%+v", s)
				}
			}
			if v.ARC.Result != mailauth.Pass || v.ARC.Sets != 1 || v.ARC.Sealer != "lists.example.org" {
				t.Errorf("chain %+v\n%s", v.ARC, got.Message)
			}
		})
	}
}

func TestTheSealTellsHowThePostCameIn(t *testing.T) {
	k, dns := author(t)
	config := ours(t, dns, "rsa")
	got := through(t, dns, config, signedBy(t, k, plain), footer{})
	if r := got.Header.Get("ARC-Authentication-Results"); r != "i=1; lists.example.org; dkim=pass header.d=example.org header.s=s1; dmarc=pass header.from=example.org" {
		t.Errorf("results %q", r)
	}
	if f := got.Header.Get("ARC-Message-Signature"); !strings.Contains(f, "DKIM-Signature:DKIM-Signature") {
		t.Errorf("the seal does not cover our own signature and the author's: %s", f)
	}
	// A second list, and one that the post reaches broken.
	second := through(t, dns, config, string(got.Message), footer{})
	if v := verified(t, dns, second.Message); v.ARC.Result != mailauth.Pass || v.ARC.Sets != 2 {
		t.Errorf("after a second list: %+v", v.ARC)
	}
	third := through(t, dns, config, strings.Replace(string(second.Message), "hello", "hallo", 1), nil)
	if s := third.Header.Get("ARC-Seal"); !strings.HasPrefix(s, "i=3; ") || !strings.Contains(s, "cv=fail") {
		t.Errorf("after it was broken: %s", s)
	}
	fourth := through(t, dns, config, string(third.Message), nil)
	if s := fourth.Header.Get("ARC-Seal"); !strings.HasPrefix(s, "i=3; ") {
		t.Errorf("a closed chain went on: %s", s)
	}
}

func TestWhatIsNotSigned(t *testing.T) {
	_, dns := author(t)
	config := ours(t, dns, "rsa")
	standby := ours(t, dns, "rsa")
	standby["keys"].([]map[string]any)[0]["standby"] = true
	for name, c := range map[string]handlertest.Case{
		"no key":         {Message: plain},
		"another domain": {Message: plain, Config: config, List: "dev@lists.example.net"},
		"on standby":     {Message: plain, Config: standby},
	} {
		if got := handlertest.Run(t, Sign().Handler, c); string(got.Message) != plain {
			t.Errorf("%s:\n%s", name, got.Message)
		}
	}
	config["arc"] = false
	got := handlertest.Run(t, Sign().Handler, handlertest.Case{Message: plain, Config: config, List: "dev@eu.lists.example.org"})
	if !got.Header.Has("DKIM-Signature") || got.Header.Has("ARC-Seal") {
		t.Errorf("without ARC:\n%s", got.Message)
	}
	// A chain that nobody has looked at is not gone on with.
	config["arc"] = true
	got = handlertest.Run(t, Sign().Handler, handlertest.Case{Message: "ARC-Seal: i=1; cv=none\r\n" + plain, Config: config})
	if len(got.Header.Values("ARC-Seal")) != 1 || !got.Header.Has("DKIM-Signature") {
		t.Errorf("an unknown chain:\n%s", got.Message)
	}
}

func TestCopiesThatDifferAreLeftToWhoMakesThem(t *testing.T) {
	_, dns := author(t)
	config := ours(t, dns, "rsa", "ed25519", "rsa")
	keys := config["keys"].([]map[string]any)
	keys[2]["standby"] = true
	c := handlertest.Case{Message: plain, Config: config, Settings: map[string]string{"personalize": "individual"}}
	got := handlertest.Run(t, Sign().Handler, c)
	want := "lists.example.org k0 " + keys[0]["key_file"].(string) + "\nlists.example.org k1 " + keys[1]["key_file"].(string)
	if string(got.Message) != plain || got.Notes[NoteKeys] != want {
		t.Errorf("notes %v, want %q\n%s", got.Notes, want, got.Message)
	}
	c.Settings["personalize"] = "none"
	if got := handlertest.Run(t, Sign().Handler, c); got.Notes[NoteKeys] != "" || !got.Header.Has("DKIM-Signature") {
		t.Errorf("all copies alike: notes %v", got.Notes)
	}
}

func TestKeysThatCannotBeUsedStopTheStart(t *testing.T) {
	for want, key := range map[string]map[string]any{
		"s1._domainkey.lists.example.org: open /nonexistent": {"domain": "lists.example.org", "selector": "s1", "key_file": "/nonexistent"},
		"want an absolute path":                              {"domain": "lists.example.org", "selector": "s1", "key_file": "key"},
		"key_file is missing":                                {"domain": "lists.example.org", "selector": "s1"},
		"unknown key":                                        {"domain": "lists.example.org", "selectr": "s1"},
	} {
		_, err := handlertest.Try(t, Sign().Handler, handlertest.Case{Message: plain, Config: map[string]any{"keys": []any{key}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
