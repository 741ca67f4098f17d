package oneclick

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
)

var (
	now  = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	list = address.Address{Local: "dev", Domain: "lists.test"}
	key  = Derive([]byte("secret"), list)
)

func TestToken(t *testing.T) {
	long := strings.Repeat("x", 64) + "@" + strings.Repeat("d", 60) + "." + strings.Repeat("d", 60) + "." + strings.Repeat("d", 60) + ".org"
	for _, rcpt := range []string{"ann@net.test", "a+b=c@net.test", `"a b"@net.test`, "用户@例え.jp", "ann@[192.0.2.1]", long} {
		token := NewSealer(key, now).Token(rcpt)
		if len(token) > MaxLen || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("%s: token %s", rcpt, token)
		}
		for _, at := range []time.Time{now, now.Add(-24 * time.Hour), now.Add(60 * 24 * time.Hour), now.Add(Window)} {
			a, err := Open(key, token, at)
			if err != nil || a.String() != rcpt {
				t.Errorf("%s: opened at %s: %v, %v", rcpt, at, a, err)
			}
		}
		if again := NewSealer(key, now).Token(rcpt); again != token {
			t.Errorf("%s: %s, and then %s", rcpt, token, again)
		}
		if strings.Contains(token, "net") {
			t.Errorf("%s: %s shows whose it is", rcpt, token)
		}
	}
}

func TestTokensAreOfOneListAndDay(t *testing.T) {
	s := NewSealer(key, now)
	token := s.Token("ann@net.test")
	other := Derive([]byte("secret"), address.Address{Local: "ops", Domain: "lists.test"})
	for name, tt := range map[string]struct {
		key   Key
		token string
		now   time.Time
		want  error
	}{
		"another list":      {other, token, now, ErrForged},
		"another secret":    {Derive([]byte("x"), list), token, now, ErrForged},
		"too old":           {key, token, now.Add(Window + 24*time.Hour), ErrExpired},
		"too early":         {key, token, now.Add(-48 * time.Hour), ErrExpired},
		"another's token":   {key, token[:20] + s.Token("bob@net.test")[20:], now, ErrForged},
		"nothing":           {key, "", now, ErrForged},
		"a hash alone":      {key, token[:22], now, ErrForged},
		"no address":        {key, s.Token(""), now, ErrForged},
		"no base64":         {key, "*" + token[1:], now, ErrForged},
		"a line break":      {key, token[:8] + "\n" + token[8:], now, ErrForged},
		"more behind it":    {key, token + "AAAA", now, ErrForged},
		"bits that are lax": {key, token[:len(token)-1] + "_", now, ErrForged},
		"endless":           {key, strings.Repeat("A", 1<<20), now, ErrForged},
		"lower case":        {key, strings.ToLower(token), now, ErrForged},
		"what is no member": {key, s.Token("no address"), now, ErrForged},
	} {
		if a, err := Open(tt.key, tt.token, tt.now); !errors.Is(err, tt.want) || !a.IsZero() {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
	for i := range token {
		b := []byte(token)
		if b[i]++; b[i] == '{' || b[i] == '[' || b[i] == ':' || b[i] == '.' || b[i] == '`' {
			b[i] = 'A'
		}
		if a, err := Open(key, string(b), now); err == nil {
			t.Errorf("%s opens as %s, with character %d changed", b, a, i)
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

// FuzzOpen: nothing opens that was not made with the key.
func FuzzOpen(f *testing.F) {
	f.Add(NewSealer(key, now).Token("ann@net.test"))
	f.Add("")
	f.Add("AAAA")
	other := Derive([]byte("another"), list)
	f.Fuzz(func(t *testing.T, token string) {
		if a, err := Open(other, token, now); err == nil {
			t.Fatalf("%q opens as %s", token, a)
		}
	})
}

// FuzzToken: what is made is read again, whatever the address is.
func FuzzToken(f *testing.F) {
	for _, rcpt := range []string{"ann@net.test", `"a b"@net.test`, "用户@例え.jp", "", "@", "\r\n"} {
		f.Add(rcpt)
	}
	f.Fuzz(func(t *testing.T, rcpt string) {
		a, err := address.Parse(rcpt)
		if err != nil {
			return // what no member can have
		}
		if got, err := Open(key, NewSealer(key, now).Token(rcpt), now); err != nil || got != a {
			t.Fatalf("%q comes back as %v, %v", rcpt, got, err)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	s := NewSealer(key, now)
	for b.Loop() {
		s.Token("someone.with.a.name@example.org")
	}
}
