package verp

import (
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
)

var (
	now  = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	list = address.Address{Local: "dev", Domain: "lists.test"}
	key  = Derive([]byte("secret"), list)
)

// detail takes the detail off a return path, as lmtpd does.
func detail(t *testing.T, path string) string {
	t.Helper()
	a, err := address.Parse(path)
	if err != nil {
		t.Fatalf("%s is no address: %v", path, err)
	}
	c := address.Candidates(a)
	last := c[len(c)-1]
	if last.Role != address.RoleBounces {
		t.Fatalf("%s is no bounce address", path)
	}
	if len(a.Local) > address.MaxLocal {
		t.Errorf("%s: a local part of %d octets", path, len(a.Local))
	}
	return last.Detail
}

func mustParse(t *testing.T, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRecipient(t *testing.T) {
	long := strings.Repeat("l", 60) + "@" + strings.Repeat("d", 60) + ".test"
	for _, tt := range []struct {
		rcpt   string
		hashed bool
	}{
		{"ann@net.test", false},
		{"Ann.Smith@net.test", false},
		{"a+b@net.test", false},
		{"a=b@net.test", false},
		{"a+b=c+d@net.test", false},
		{long, true},
		{`"a b"@net.test`, true},
		{"用户@例え.jp", true},
		{"ann@[192.0.2.1]", true},
		{strings.Repeat("x", 64-len("dev-bounces+")-tagLen-len("+=net.test")) + "@net.test", false},
		{strings.Repeat("x", 65-len("dev-bounces+")-tagLen-len("+=net.test")) + "@net.test", true},
	} {
		t.Run(tt.rcpt, func(t *testing.T) {
			want := mustParse(t, tt.rcpt)
			path, keyed := NewEncoder(key, list, now).Recipient(tt.rcpt)
			if !keyed {
				t.Fatalf("%s has no key", path)
			}
			d := detail(t, path)
			for _, spelled := range []string{d, strings.ToUpper(d), strings.ToLower(d)} {
				r := Decode(key, list, spelled, now.Add(5*24*time.Hour))
				if r.Kind != Recipient || r.Hashed() != tt.hashed || !r.Names(want) {
					t.Errorf("%s reads as %+v", path, r)
				}
				if r.Names(mustParse(t, "eve@net.test")) {
					t.Errorf("%s names anybody", path)
				}
			}
		})
	}
}

func TestBatch(t *testing.T) {
	path, keyed := NewEncoder(key, list, now).Batch()
	if !keyed {
		t.Fatalf("%s has no key", path)
	}
	d := detail(t, path)
	if r := Decode(key, list, d, now); r.Kind != Batch || !r.Address.IsZero() {
		t.Errorf("%s reads as %+v", path, r)
	}
	// What Postfix makes of it.
	if r := Decode(key, list, d+"+bob+tag=other.test", now); r.Kind != Batch || r.Address.String() != "bob+tag@other.test" {
		t.Errorf("with XVERP: %+v", r)
	}
}

func TestForged(t *testing.T) {
	ann, _ := NewEncoder(key, list, now).Recipient("ann@net.test")
	d := detail(t, ann)
	token, _ := NewEncoder(key, list, now).Recipient(`"a b"@net.test`)
	other := Derive([]byte("secret"), address.Address{Local: "ops", Domain: "lists.test"})
	for name, r := range map[string]Return{
		"another recipient":      Decode(key, list, strings.Replace(d, "ann=", "bob=", 1), now),
		"another list":           Decode(other, list, d, now),
		"another secret":         Decode(Derive([]byte("x"), list), list, d, now),
		"too old":                Decode(key, list, d, now.Add(Window+48*time.Hour)),
		"too early":              Decode(key, list, d, now.Add(-72*time.Hour)),
		"another day":            Decode(key, list, "aaa"+d[3:], now),
		"a tag that is none":     Decode(key, list, "!!!!!!!!!!!!+ann=net.test", now),
		"no tag":                 Decode(key, list, "ann=net.test", now),
		"a recipient's as batch": Decode(key, list, d[:tagLen], now),
		"a token changed":        Decode(key, list, "b"+detail(t, token)[1:], now),
		"junk":                   Decode(key, list, strings.Repeat("+=", 100), now),
	} {
		if r.Kind != Unkeyed {
			t.Errorf("%s: %+v", name, r)
		}
		if r.Names(mustParse(t, "ann@net.test")) {
			t.Errorf("%s: names ann for certain", name)
		}
	}
	if r := Decode(key, list, "ann=net.test", now); r.Address.String() != "ann@net.test" {
		t.Errorf("without a tag: %+v", r)
	}
	if r := Decode(key, list, "", now); r.Kind != Plain {
		t.Errorf("without a detail: %+v", r)
	}
}

func TestProbe(t *testing.T) {
	token := ProbeToken([]byte("0123456789"))
	if err := CheckProbe(token); err != nil {
		t.Fatal(err)
	}
	a := address.Sub(list, address.RoleBounces)
	a.Local += "+" + token
	if r := Decode(key, list, strings.ToUpper(detail(t, a.String())), now); r.Kind != Probe || r.Token != token {
		t.Errorf("%s reads as %+v", a, r)
	}
	for _, bad := range []string{"", "short", strings.Repeat("=", ProbeLen)} {
		if CheckProbe(bad) == nil {
			t.Errorf("token %q is taken", bad)
		}
	}
}

func TestNoRoom(t *testing.T) {
	l := address.Address{Local: strings.Repeat("l", 52), Domain: "lists.test"}
	e := NewEncoder(Derive([]byte("secret"), l), l, now)
	for _, f := range []func() (string, bool){e.Batch, func() (string, bool) { return e.Recipient("ann@net.test") }} {
		if path, keyed := f(); keyed || path != l.Local+"-bounces@lists.test" {
			t.Errorf("%s, %v", path, keyed)
		}
	}
}

func TestParseKey(t *testing.T) {
	if k, err := ParseKey(key.String()); err != nil || k != key {
		t.Errorf("%v, %v", k, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("x", 64)} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

func TestDaysComeRound(t *testing.T) {
	// 32768 days after 1970 the counter starts again.
	last := time.Unix(32768*24*60*60-1, 0)
	path, _ := NewEncoder(key, list, last).Recipient("ann@net.test")
	if r := Decode(key, list, detail(t, path), last.Add(72*time.Hour)); r.Kind != Recipient {
		t.Errorf("%+v", r)
	}
}

// FuzzDecode: no detail proves anything unless it was made here.
func FuzzDecode(f *testing.F) {
	e := NewEncoder(key, list, now)
	for _, rcpt := range []string{"ann@net.test", `"a b"@net.test`, "用户@例え.jp"} {
		path, _ := e.Recipient(rcpt)
		f.Add(strings.TrimSuffix(strings.TrimPrefix(path, "dev-bounces+"), "@lists.test"))
	}
	f.Add("ann=net.test")
	f.Add("0123456789ab+a=b")
	other := Derive([]byte("another"), list)
	f.Fuzz(func(t *testing.T, d string) {
		if r := Decode(other, list, d, now); r.Kind == Recipient || r.Kind == Batch {
			t.Fatalf("%q reads as %+v", d, r)
		}
		Decode(key, list, d, now)
	})
}

// FuzzRecipient: whatever the recipient is, the path is one line and names it alone.
func FuzzRecipient(f *testing.F) {
	for _, rcpt := range []string{"ann@net.test", `"a b"@net.test`, "用户@例え.jp", "", "@", "a@b@c", "\r\n"} {
		f.Add(rcpt)
	}
	f.Fuzz(func(t *testing.T, rcpt string) {
		path, keyed := NewEncoder(key, list, now).Recipient(rcpt)
		a, err := address.Parse(rcpt)
		if err != nil || !keyed || a.String() != rcpt {
			return // what no member can have
		}
		if r := Decode(key, list, detail(t, path), now); r.Kind != Recipient || !r.Names(a) {
			t.Fatalf("%q becomes %s, which reads as %+v", rcpt, path, r)
		}
	})
}

func BenchmarkRecipient(b *testing.B) {
	e := NewEncoder(key, list, now)
	for b.Loop() {
		e.Recipient("someone.with.a.name@example.org")
	}
}
