package mailauth

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/message"
)

// chainOf is mail that went through lists which each sealed it, and changed it before that.
func chainOf(t testing.TB, n int) (msg string, dns File) {
	t.Helper()
	var keys []*Key
	for i := range n {
		keys = append(keys, rsaKey("list"+string(rune('a'+i))+".example", "s1"))
	}
	dns = published(t, keys)
	msg = mail
	for i, k := range keys {
		v := verify(t, dns, msg)
		msg = sealedAfter(t, k, v, strings.Replace(msg, "Hello", "Hello"+strings.Repeat("!", min(i, 1)), 1))
	}
	return msg, dns
}

func TestSealedChainsPass(t *testing.T) {
	for n := range 6 {
		msg, dns := chainOf(t, n)
		want := Chain{Result: None}
		if n > 0 {
			want = Chain{Result: Pass, Sets: n, Sealer: "list" + string(rune('a'+n-1)) + ".example"}
		}
		if got := verify(t, dns, msg).ARC; got != want {
			t.Errorf("%d sets: %+v, want %+v\n%s", n, got, want, msg)
		}
	}
}

func TestChainsThatFail(t *testing.T) {
	msg, dns := chainOf(t, 3)
	fieldOf := func(name, i string) string {
		h, _ := split(t, msg)
		for f := range h.Fields() {
			if f.Name == name && strings.HasPrefix(string(f.Raw), name+": i="+i+";") {
				return string(f.Raw)
			}
		}
		t.Fatalf("no %s %s", name, i)
		return ""
	}
	for _, tt := range []struct {
		name   string
		change func(string) string
		want   Result
	}{
		{"nothing", breakNothing, Pass},
		{"the body", replace("Hello", "Hallo"), Fail},
		{"a signed field", replace("a topic", "another topic"), Fail},
		{"an unsigned field", replace("a.example (", "x.example ("), Pass},
		{"results of the first set", replace(fieldOf(aarName, "1"), strings.Replace(fieldOf(aarName, "1"), "none", "dkim=pass", 1)), Fail},
		{"the first message signature", replace(fieldOf(amsName, "1"), strings.Replace(fieldOf(amsName, "1"), "; t=", "; t=1", 1)), Fail},
		{"the first seal", replace(fieldOf(asName, "1"), strings.Replace(fieldOf(asName, "1"), "; t=", "; t=1", 1)), Fail},
		{"the last seal", replace(fieldOf(asName, "3"), strings.Replace(fieldOf(asName, "3"), "; t=", "; t=1", 1)), Fail},
		{"the last seal says none", replace(fieldOf(asName, "3"), strings.Replace(fieldOf(asName, "3"), "cv=pass", "cv=none", 1)), Fail},
		{"the first seal says pass", replace(fieldOf(asName, "1"), strings.Replace(fieldOf(asName, "1"), "cv=none", "cv=pass", 1)), Fail},
		{"a seal is gone", replace(fieldOf(asName, "2"), ""), Fail},
		{"results are gone", replace(fieldOf(aarName, "2"), ""), Fail},
		{"a message signature is gone", replace(fieldOf(amsName, "3"), ""), Fail},
		{"the middle set is gone", func(s string) string {
			for _, name := range []string{asName, amsName, aarName} {
				s = strings.Replace(s, fieldOf(name, "2"), "", 1)
			}
			return s
		}, Fail},
		{"the last set is gone", func(s string) string {
			for _, name := range []string{asName, amsName, aarName} {
				s = strings.Replace(s, fieldOf(name, "3"), "", 1)
			}
			return s
		}, Fail}, // the third list changed the body
		{"a field twice", func(s string) string { return fieldOf(asName, "1") + s }, Fail},
		{"instance 0", func(s string) string { return "ARC-Seal: i=0; cv=none\r\n" + s }, Fail},
		{"instance 51", func(s string) string { return "ARC-Seal: i=51; cv=none\r\n" + s }, Fail},
		{"an instance that is none", func(s string) string { return "ARC-Seal: i=x; cv=none\r\n" + s }, Fail},
		{"results without an instance", func(s string) string { return "ARC-Authentication-Results: x.example; none\r\n" + s }, Fail},
		{"a lone seal", func(string) string { return fieldOf(asName, "1") + mail }, Fail},
		{"refolded fields", func(s string) string {
			f := fieldOf(asName, "2")
			return strings.Replace(s, f, strings.ReplaceAll(f, "; ", ";\r\n\t "), 1)
		}, Pass},
		{"sets in another order", func(s string) string { return fieldOf(aarName, "1") + strings.Replace(s, fieldOf(aarName, "1"), "", 1) }, Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := verify(t, dns, tt.change(msg)).ARC
			if got.Result != tt.want || got.Sets == 0 || (got.Result == Pass) != (got.Reason == "") {
				t.Errorf("%+v, want %s", got, tt.want)
			}
		})
	}
	t.Run("a key is gone", func(t *testing.T) {
		if got := verify(t, File{}, msg).ARC; got.Result != Fail {
			t.Errorf("%+v", got)
		}
	})
}

func TestABrokenChainIsSealedAsBroken(t *testing.T) {
	msg, dns := chainOf(t, 2)
	msg = strings.Replace(msg, "Hello", "Hallo", 1)
	k := rsaKey("last.example", "s1")
	for name, records := range published(t, []*Key{k}) {
		dns[name] = records
	}
	out := sealed(t, k, dns, msg)
	if !strings.HasPrefix(out, "ARC-Seal: i=3; a=rsa-sha256; t=1780315200; cv=fail;") {
		t.Errorf("sealed so:\n%.300s", out)
	}
	got := verify(t, dns, out).ARC
	if got.Result != Fail || !got.Closed || got.Sets != 3 {
		t.Errorf("then %+v", got)
	}
	h, _ := split(t, out)
	// The new seal holds over its own set alone.
	c := readChain(h)
	s := &signature{field: *c.sets[2].seal, limit: -1}
	s.tags, _ = parseTags(value(s.field))
	s.name()
	if err := s.common(); err != nil {
		t.Fatal(err)
	}
	record, _ := parseKey(dns["s1._domainkey.last.example"][0])
	if !record.verify(sealHash(c.sets[2:]), s.sig) {
		t.Error("the seal of a broken chain does not hold over its own set")
	}
	if _, err := k.Seal(h, nil, got, "x", noon); !errors.Is(err, ErrNotSealed) {
		t.Errorf("sealed after cv=fail: %v", err)
	}
}

func TestWhatIsNotSealed(t *testing.T) {
	h := message.ParseHeader([]byte("From: a@b.example\r\n"))
	for name, c := range map[string]Chain{"full": {Result: Pass, Sets: 50}, "unknown": {Result: TempError, Sets: 1}, "closed": {Result: Fail, Sets: 2, Closed: true}} {
		if _, err := rsaKey("a.example", "s").Seal(h, nil, c, "x", noon); !errors.Is(err, ErrNotSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := edKey("a.example", "s").Seal(h, nil, Chain{Result: None}, "x", noon); !errors.Is(err, ErrNotSealed) {
		t.Errorf("Ed25519: %v", err)
	}
	h = message.ParseHeader([]byte("ARC-Seal: i=x\r\nFrom: a@b.example\r\n"))
	v := Verifier{Resolver: File{}}
	got, err := v.Verify(context.Background(), h, strings.NewReader(""))
	if err != nil || got.ARC.Result != Fail || !got.ARC.Closed {
		t.Errorf("a chain that nobody can read: %+v, %v", got.ARC, err)
	}
}

func TestFiftySets(t *testing.T) {
	k := rsaKey("a.example", "s1")
	dns := published(t, []*Key{k})
	msg := mail
	for range 50 {
		msg = sealed(t, k, dns, msg)
	}
	got := verify(t, dns, msg).ARC
	if got.Result != Pass || got.Sets != 50 {
		t.Errorf("%+v", got)
	}
}
