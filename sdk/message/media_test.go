package message_test

import (
	"strings"
	"testing"
)

func TestParameters(t *testing.T) {
	for _, tt := range []struct{ name, in, charset, files string }{
		{"in quotes", "Content-Type: text/plain; charset=\"utf-8\"; name=\"a b.txt\"\n", "utf-8", "a b.txt"},
		{"RFC 2231", "Content-Type: text/plain; name*=utf-8'en'%C3%A9%20.exe\n", "", "é .exe"},
		{"RFC 2231 in an old charset", "Content-Disposition: attachment; filename*=iso-8859-1''%E9.exe\n", "", "é.exe"},
		{"RFC 2231 in pieces", "Content-Disposition: attachment; filename*1=\"b.ex\"; filename*0*=utf-8''%C3%A9; filename*2=e\n", "", "éb.exe"},
		{"RFC 2231 after a duplicate", "Content-Type: text/plain; a=1; a=2; charset*0=ut; charset*1=f-8\n", "utf-8", ""},
		{"RFC 2047", "Content-Disposition: attachment; filename=\"=?utf-8?q?=C3=A9=2Eexe?=\"\n", "", "é.exe"},
		{"several names", "Content-Type: a/b; name=a.exe\nContent-Disposition: attachment; filename=x.txt; filename=y.bat; filename*=utf-8''z.com\n", "", "x.txt,y.bat,z.com,a.exe"},
		{"a name without quotes", "Content-Type: a/b; name=a b.exe ; x=y\n", "", "a,a b.exe"},
		{"a name that never ends", "Content-Type: a/b; name=\"a.exe\n", "", "a.exe"},
		{"folded", "Content-Type: text/plain;\n charset=utf-8\n ; name=x.txt\n", "utf-8", "x.txt"},
		{"nothing between", "Content-Type: text/plain; charset*=; name*0*=''\n", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, root, _ := parse(t, tt.in+"\nx")
			if got := root.Params["charset"]; got != tt.charset {
				t.Errorf("charset %q", got)
			}
			if got := strings.Join(root.FileNames(), ","); got != tt.files {
				t.Errorf("file names %q", got)
			}
		})
	}
}
