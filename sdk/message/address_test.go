package message

import (
	"strings"
	"testing"
)

func TestListNames(t *testing.T) {
	tests := []struct{ address, id, mark, uri string }{
		{"Dev@lists.example.org", "dev.lists.example.org", "dev@lists.example.org", "<mailto:Dev@lists.example.org?a=b>"},
		{"dév@bücher.example", "d%c3%a9v.xn--bcher-kva.example", "d%c3%a9v@xn--bcher-kva.example", "<mailto:d%C3%A9v@xn--bcher-kva.example?a=b>"},
		{"a b<c>@lists.example.org", "a%20b%3cc%3e.lists.example.org", "a%20b%3cc%3e@lists.example.org", "<mailto:a%20b%3Cc%3E@lists.example.org?a=b>"},
		{"50%@lists.example.org", "50%25.lists.example.org", "50%25@lists.example.org", "<mailto:50%25@lists.example.org?a=b>"},
	}
	for _, tt := range tests {
		if got := ListID(tt.address); got != tt.id {
			t.Errorf("ListID(%s) = %s, want %s", tt.address, got, tt.id)
		}
		if got := ListMark(tt.address); got != tt.mark {
			t.Errorf("ListMark(%s) = %s, want %s", tt.address, got, tt.mark)
		}
		if got := Mailto(tt.address, "a=b"); got != tt.uri {
			t.Errorf("Mailto(%s) = %s, want %s", tt.address, got, tt.uri)
		}
	}
}

func TestASCIIAddress(t *testing.T) {
	for in, want := range map[string]string{
		"Dev@lists.example.org": "Dev@lists.example.org",
		"dev@bücher.example":    "dev@xn--bcher-kva.example",
		"dév@bücher.example":    "dév@bücher.example",
		"nobody":                "nobody",
	} {
		if got := ASCIIAddress(in); got != want {
			t.Errorf("ASCIIAddress(%s) = %q, want %q", in, got, want)
		}
	}
}

func TestAddressKey(t *testing.T) {
	for in, want := range map[string]string{
		"Ann@Example.ORG":            "ann@example.org",
		"ann@XN--bcher-kva.example":  "ann@bücher.example",
		"ann@xn--.example":           "ann@xn--.example",
		"xn--nobody":                 "xn--nobody",
		"xn--bcher-kva@a.example":    "xn--bcher-kva@a.example",
		"ann@sub.xn--bcher-kva.cafÉ": "ann@sub.bücher.café",
	} {
		if got := AddressKey(in); got != want {
			t.Errorf("AddressKey(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestIsAddress(t *testing.T) {
	for addr, want := range map[string]bool{
		"ann@example.org": true, "用户@例え.jp": true, "\"a b\"@example.org": true,
		"": false, "ann": false, "@example.org": false, "ann@": false, "a\x00@example.org": false, "a\u0084@example.org": false,
		"a\xff@example.org": false, strings.Repeat("a", 250) + "@example.org": false,
	} {
		if got := IsAddress(addr); got != want {
			t.Errorf("IsAddress(%.40q) = %v, want %v", addr, got, want)
		}
	}
}

func TestMailboxesCutsBetweenAddresses(t *testing.T) {
	one := "a@example.org.example," // 22 octets
	value := strings.Repeat(one, maxRead/len(one)+10)
	boxes := ParseHeader([]byte("To: "+value+"\r\nCc: b@example.org\r\n")).Mailboxes("To", "Cc")
	if len(boxes) < maxRead/len(one)-1 || len(boxes) > maxRead/len(one)+1 {
		t.Errorf("%d addresses read", len(boxes))
	}
	for _, m := range boxes {
		if m.Address != "a@example.org.example" && m.Address != "b@example.org" {
			t.Fatalf("address %q", m.Address)
		}
	}
}

func TestMailboxesReadsOfOneEndlessWordNothing(t *testing.T) {
	h := ParseHeader([]byte("To: a@" + strings.Repeat("b", 2*maxRead) + "\r\n"))
	if boxes := h.Mailboxes("To"); len(boxes) != 0 {
		t.Errorf("%d addresses read", len(boxes))
	}
}

func TestEveryListHasItsOwnMark(t *testing.T) {
	seen := map[string]string{}
	for _, addr := range []string{"dev.eu@lists.example.org", "dev@eu.lists.example.org", "a b@example.org", "a%20b@example.org",
		"dév@example.org", "d%c3%a9v@example.org", "dev@bücher.example", "nobody", "@nobody", ""} {
		m := ListMark(addr)
		if other, ok := seen[m]; ok && addr != "@nobody" {
			t.Errorf("%q and %q are both %q", addr, other, m)
		}
		seen[m] = addr
		if !isASCII(m) {
			t.Errorf("the mark of %q is %q", addr, m)
		}
	}
	if a, b := ListID("dev.eu@lists.example.org"), ListID("dev@eu.lists.example.org"); a != b {
		t.Errorf("%q and %q differ: then List-Id could tell loops too", a, b)
	}
}

// FuzzAddress: nothing that a header may hold makes these panic or write what a header
// must not hold.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"dev@lists.example.org", "d\xc3\xa9v@b\xc3\xbccher.example", "@", "xn--@xn--", "a@xn--bcher-kva.example", "\x00@\xff", "no", "\x16", "a@[::1]", "0.Xn--BBe", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		for _, s := range []string{ListID(addr), ListMark(addr), Mailto(addr, "")} {
			if !isPlain(s) {
				t.Fatalf("%q becomes %q", addr, s)
			}
		}
		if key := AddressKey(addr); AddressKey(key) != key {
			t.Fatalf("%q has the key %q, which has the key %q", addr, key, AddressKey(key))
		}
		if a := ASCIIAddress(addr); IsAddress(addr) && AddressKey(a) == "" {
			t.Fatalf("%q becomes %q", addr, a)
		}
	})
}
