package headers

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

func TestListNames(t *testing.T) {
	tests := []struct{ address, id, mark, uri string }{
		{"Dev@lists.example.org", "dev.lists.example.org", "dev@lists.example.org", "<mailto:Dev@lists.example.org?a=b>"},
		{"dév@bücher.example", "d%c3%a9v.xn--bcher-kva.example", "d%c3%a9v@xn--bcher-kva.example", "<mailto:d%C3%A9v@xn--bcher-kva.example?a=b>"},
		{"a b<c>@lists.example.org", "a%20b%3cc%3e.lists.example.org", "a%20b%3cc%3e@lists.example.org", "<mailto:a%20b%3Cc%3E@lists.example.org?a=b>"},
		{"50%@lists.example.org", "50%25.lists.example.org", "50%25@lists.example.org", "<mailto:50%25@lists.example.org?a=b>"},
	}
	for _, tt := range tests {
		l := sdk.List{Address: tt.address}
		if got := listID(l); got != tt.id {
			t.Errorf("listID(%s) = %s, want %s", tt.address, got, tt.id)
		}
		if got := mark(l); got != tt.mark {
			t.Errorf("mark(%s) = %s, want %s", tt.address, got, tt.mark)
		}
		if got := mailto(tt.address, "a=b"); got != tt.uri {
			t.Errorf("mailto(%s) = %s, want %s", tt.address, got, tt.uri)
		}
	}
}

func TestField(t *testing.T) {
	for in, want := range map[string]string{
		"Dev@lists.example.org": "Dev@lists.example.org",
		"dev@bücher.example":    "dev@xn--bcher-kva.example",
		"dév@bücher.example":    "dév@bücher.example",
		"nobody":                "nobody",
	} {
		if got := fieldAddress(in); got != want {
			t.Errorf("fieldAddress(%s) = %q, want %q", in, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	for in, want := range map[string]string{
		"Ann@Example.ORG":            "ann@example.org",
		"ann@XN--bcher-kva.example":  "ann@bücher.example",
		"ann@xn--.example":           "ann@xn--.example",
		"xn--nobody":                 "xn--nobody",
		"xn--bcher-kva@a.example":    "xn--bcher-kva@a.example",
		"ann@sub.xn--bcher-kva.cafÉ": "ann@sub.bücher.café",
	} {
		if got := key(in); got != want {
			t.Errorf("key(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestPlausible(t *testing.T) {
	for addr, want := range map[string]bool{
		"ann@example.org": true, "用户@例え.jp": true, "\"a b\"@example.org": true,
		"": false, "ann": false, "@example.org": false, "ann@": false, "a\x00@example.org": false, "a\u0084@example.org": false,
		"a\xff@example.org": false, strings.Repeat("a", 250) + "@example.org": false,
	} {
		if got := plausible(addr); got != want {
			t.Errorf("plausible(%.40q) = %v, want %v", addr, got, want)
		}
	}
}

func TestNamedCutsBetweenAddresses(t *testing.T) {
	one := "a@example.org.example," // 22 octets
	value := strings.Repeat(one, maxRead/len(one)+10)
	boxes := named(message.ParseHeader([]byte("To: "+value+"\r\nCc: b@example.org\r\n")), "To", "Cc")
	if len(boxes) < maxRead/len(one)-1 || len(boxes) > maxRead/len(one)+1 {
		t.Errorf("%d addresses read", len(boxes))
	}
	for _, m := range boxes {
		if m.Address != "a@example.org.example" && m.Address != "b@example.org" {
			t.Fatalf("address %q", m.Address)
		}
	}
}

func TestNamedReadsOfOneEndlessWordNothing(t *testing.T) {
	h := message.ParseHeader([]byte("To: a@" + strings.Repeat("b", 2*maxRead) + "\r\n"))
	if boxes := named(h, "To"); len(boxes) != 0 {
		t.Errorf("%d addresses read", len(boxes))
	}
}
