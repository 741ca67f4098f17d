package message

import (
	"slices"
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	for _, c := range []struct{ name, header, own, refs string }{
		{"plain", "Message-ID: <1@x.test>\r\nReferences: <a@x> <b@x>\r\nIn-Reply-To: <c@x>\r\n", "1@x.test", "a@x b@x c@x"},
		{"none", "Subject: x\r\n", "", ""},
		{"folded, with comments", "Message-Id:\r\n\t<1@x.test> (mine)\r\nReferences: <a@x>\r\n <b@x>,<c@x>\r\n", "1@x.test", "a@x b@x c@x"},
		{"words of an old In-Reply-To", "Message-ID: 1@x.test\r\nIn-Reply-To: Your message of Monday <a@x>\r\n", "1@x.test", "a@x"},
		{"without brackets", "References: a@x b@x, no-id\r\n", "", "a@x b@x"},
		{"folded within", "Message-ID: <lo\r\n ng@x>\r\n", "long@x", ""},
		{"unfinished", "Message-ID: <1@x\r\nReferences: <a@x> <b@\r\n", "1@x", "a@x"},
		{"without an @", "Message-ID: <one>\r\n", "one", ""},
		{"no id at all", "Message-ID: nothing\r\n", "nothing", ""},
		{"a bracket within", "Message-ID: H<x\r\n", "Hx", ""},
		{"empty", "Message-ID: <>\r\nReferences: <> <a@x>\r\n", "", "a@x"},
	} {
		h := ParseHeader([]byte(c.header))
		if got := h.ID(); got != c.own {
			t.Errorf("%s: id %q, want %q", c.name, got, c.own)
		}
		if got := strings.Join(h.IDs("References", "In-Reply-To"), " "); got != c.refs {
			t.Errorf("%s: references %q, want %q", c.name, got, c.refs)
		}
	}
	many := ParseHeader([]byte("References: <first@x> " + strings.Repeat("<mid@x> ", 5000) + "<last@x>\r\n"))
	if got := many.IDs("References"); len(got) != maxIDs || got[0] != "first@x" || got[maxIDs-1] != "last@x" || !slices.Contains(got, "mid@x") {
		t.Errorf("%d ids, from %s to %s", len(got), got[0], got[len(got)-1])
	}
}

// The value is that which Mailman's archives have in their addresses.
func TestIDHash(t *testing.T) {
	for id, want := range map[string]string{
		"": "", "87myycy5eh.fsf@uwakimon.sk.tsukuba.ac.jp": "JJIGKPKB6CVDX6B2CUG4IHAJRIQIOUTP", "first": "4CMWUN6BHVCMHMDAOSJZ2Q72G5M32MWB",
	} {
		if got := IDHash(id); got != want {
			t.Errorf("%q: %s, want %s", id, got, want)
		}
	}
}

func FuzzIDs(f *testing.F) {
	f.Add("<a@x> <b@\r\n y>, c@z <<>", "<1@x>")
	f.Fuzz(func(t *testing.T, refs, id string) {
		h := ParseHeader([]byte("References: " + refs + "\r\nMessage-ID: " + id + "\r\n"))
		for _, got := range append(h.IDs("References"), h.ID()) {
			if strings.ContainsAny(got, " \t\r\n<>") || len(got) > len(refs)+len(id) {
				t.Fatalf("id %q of %q, %q", got, refs, id)
			}
		}
	})
}
