package mailauth

import (
	"slices"
	"testing"

	"github.com/mlist/mlist/sdk/message"
)

func TestAuthenticationResultsAsTheWorldWritesThem(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"none", "mx.example.org; none", "mx.example.org; none"},
		{"only a name", "mx.example.org", "mx.example.org; none"},
		{"a version", "MX.example.org 1; spf=pass", "mx.example.org; spf=pass"},
		{"several", "mx.example.org; dkim=pass header.d=a.example header.s=s1; spf=fail smtp.mailfrom=ann@a.example;\r\n\tdmarc=none header.from=a.example",
			"mx.example.org; dkim=pass header.d=a.example header.s=s1; spf=fail smtp.mailfrom=ann@a.example; dmarc=none header.from=a.example"},
		{"comments with everything in them", `mx.example.org (a; b=c \) (nested; d)); (x) dkim (y) = (z) pass (2048-bit key; d="q") header.d (.) = (.) a.example (;)`,
			"mx.example.org; dkim=pass header.d=a.example"},
		{"a comment that does not end", "mx.example.org; dkim=pass (oops; spf=pass", "mx.example.org; dkim=pass"},
		{"quoted strings", `"mx example"; dkim=fail reason="bad; (very) \"bad\"" header.i="ann smith"@a.example; spf=pass`,
			`"mx example"; dkim=fail reason="bad; (very) \"bad\"" header.i="ann smith@a.example"; spf=pass`},
		{"a quoted string that does not end", `mx.example.org; dkim=fail reason="bad; spf=pass`, `mx.example.org; dkim=fail reason="bad; spf=pass"`},
		{"a method's version", "mx.example.org; DKIM/1=PASS", "mx.example.org; dkim=pass"},
		{"a method's later version", "mx.example.org; dkim/2=pass header.d=a.example; spf / 1 = pass; dmarc/ (x) 10=pass", "mx.example.org; spf=pass"},
		{"a later version", "mx.example.org 2; spf=pass", "mx.example.org; none"},
		{"version 1 among comments", "mx.example.org (a) 1 (b); spf=pass", "mx.example.org; spf=pass"},
		{"nonsense between", "mx.example.org; ; hello world; =x; dkim=pass; a)b; spf=pass", "mx.example.org; dkim=pass; spf=pass"},
		{"nothing but a version", "mx.example.org; /1=pass x.y=z; dkim=; spf=pass", "mx.example.org; spf=pass"},
		{"no semicolon after the name", "mx.example.org dkim=pass", "mx.example.org; none"},
		{"words after a result", "mx.example.org; dkim=pass something else; spf=pass", "mx.example.org; dkim=pass; spf=pass"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAuthResults(tt.in)
			if err != nil || got.String() != tt.want {
				t.Errorf("%q, %v\nwant %q", got.String(), err, tt.want)
			}
		})
	}
	for _, bad := range []string{"", " ", "; dkim=pass", "(x)", ";"} {
		if got, err := ParseAuthResults(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

func TestWhereResultsStand(t *testing.T) {
	h := message.ParseHeader([]byte("Authentication-Results: a; none\r\nReceived: x\r\nauthentication-results: b;\r\n none\r\nAuthentication-Results: ;\r\nReceived: y\r\nAuthentication-Results: c\r\nFrom: a@b\r\n"))
	var got []string
	for _, r := range ResultFields(h) {
		got = append(got, r.ID+string(rune('0'+r.Nth))+string(rune('0'+r.Received)))
	}
	if want := []string{"a10", "b21", "31", "c42"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// FuzzAuthResults: what is read is written so that it is read the same.
func FuzzAuthResults(f *testing.F) {
	for _, s := range []string{"a; b=c d.e=f", `a (b) 1; c/2=d reason="e\"" f.g="h"@i; j`, "a;;=;()=(", `"`, "(\\", "a;b=;c="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAuthResults(s)
		if err != nil {
			return
		}
		once := a.String()
		b, err := ParseAuthResults(once)
		if err != nil || len(b.Results) != len(a.Results) || b.String() != once {
			t.Fatalf("%q is written as %q and then %q, %v", s, once, b.String(), err)
		}
	})
}
