package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mlist/mlist/internal/list"
)

// readMembers reads text as standard input.
func readMembers(t testing.TB, text io.Reader) (in *memberInput, members []list.Membership, err error) {
	t.Helper()
	in = &memberInput{files: []string{"-"}, stdin: text, errs: io.Discard}
	for m, merr := range in.members() {
		if merr != nil {
			return in, members, merr
		}
		members = append(members, m)
	}
	return in, members, nil
}

func TestLinesOfAnyLengthAndEndingAreRead(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	in, got, err := readMembers(t, iotest.OneByteReader(strings.NewReader("\ufeffa@x.test\r\n"+long+"\n\xff\xfe@x.test\nb@x.test")))
	if err != nil || len(got) != 2 || got[0].Address.Local != "a" || got[1].Address.Local != "b" {
		t.Fatalf("got %v, %v", got, err)
	}
	if in.bad != 2 {
		t.Errorf("%d bad lines, want the long one and the one that is not UTF-8", in.bad)
	}
}

func TestAReadErrorEndsTheInput(t *testing.T) {
	cause := errors.New("the disk is gone")
	_, got, err := readMembers(t, io.MultiReader(strings.NewReader("a@x.test\n"), iotest.ErrReader(cause)))
	if !errors.Is(err, cause) || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
}

// FuzzMembers: whatever is read, what `member ls` prints of it reads back as the same.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		"ann@net.test\n", "Bob B. <Bob@Net.Test>", `"Doe, \"Cy\"" <cy@other.test>`, "<#a@x.test>", "# c\n\n  x@y.test \r\n", `"#x" <a@b.test>`,
		"A <a@b.test>, B <b@b.test>", `"a b"@x.test`, `N <"a>b"@x.test>`, "=?utf-8?q?x?= <a@b.test>", "a@b.test (Ann)", "用户 <用户@例え.test>", "a <b@[192.0.2.1]>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, members, err := readMembers(t, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			var line bytes.Buffer
			if err := printMember(&line, m, false, false); err != nil {
				t.Fatal(err)
			}
			_, back, err := readMembers(t, bytes.NewReader(line.Bytes()))
			if err != nil || len(back) != 1 || back[0].Address != m.Address || back[0].DisplayName != m.DisplayName {
				t.Fatalf("%+v prints as %q, which reads as %+v, %v", m, line.Bytes(), back, err)
			}
		}
	})
}

func TestAFileWithColumns(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"addresses alone", "email\nann@x.test\n", "ann@x.test"},
		{"with names", "# staff\n\nName,Address\n\"Smith, Ann\",ann@x.test\n,bob@x.test\n", "Smith, Ann <ann@x.test>;bob@x.test"},
		{"with semicolons", "address;name\nann@x.test;Ann\n", "Ann <ann@x.test>"},
		{"with tabs", "address\tname\nann@x.test\tAnn\n", "Ann <ann@x.test>"},
		{"a name in the address", "address,mode\nAnn <ann@x.test>,mime_digests\n", "Ann <ann@x.test> mime_digests"},
		{"more", "address,status,action,no_own_posts\nann@x.test,by_user,hold,true\nbob@x.test,,default,0\n", "ann@x.test by_user hold no-own;bob@x.test"},
		{"tabs, and a first column that may be empty", "name\taddress\r\n\tann@x.test\r\nBob\tbob@x.test\n", "ann@x.test;Bob <bob@x.test>"},
		{"what a spreadsheet says of itself", "\ufeffsep=;\r\nE-Mail Address;Name\r\nann@x.test;\"Smith; Ann\"\r\n", "Smith; Ann <ann@x.test>"},
		{"other truths", "address,no_own_posts\nann@x.test,Yes\nbob@x.test,off\ncy@x.test,perhaps\n", "ann@x.test no-own;bob@x.test bad=1"},
		{"names with a comma", "Doe, Ann <ann@x.test>\n\"Doe, Bob\" <bob@x.test>\na@x.test, Cy <cy@x.test>\n", "Doe, Ann <ann@x.test>;Doe, Bob <bob@x.test> bad=1"},
		{"bad lines", "address,mode\nann@x.test,fast\nbob@x.test,regular,1\n\"cy@x.test,\nx,regular\nann@x.test\n,regular\n", "ann@x.test bad=5"},
		{"no columns", "ann@x.test\nbob@x.test\n", "ann@x.test;bob@x.test"},
		{"an unknown column", "address,shoe size\nann@x.test,42\n", `error standard input:1: no column "shoe size" is known`},
		{"a column twice", "address,email\n", "error standard input:1: the column address is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, members, err := readMembers(t, strings.NewReader(tt.text))
			var got []string
			for _, m := range members {
				text := m.Address.String()
				if m.DisplayName != "" {
					text = m.DisplayName + " <" + text + ">"
				}
				if m.Mode != list.Regular {
					text += " " + string(m.Mode)
				}
				if m.Status != list.Enabled {
					text += " " + string(m.Status)
				}
				if m.Action != "" {
					text += " " + string(m.Action)
				}
				if m.NoOwnPosts {
					text += " no-own"
				}
				got = append(got, text)
			}
			out := strings.Join(got, ";")
			if in.bad > 0 {
				out += fmt.Sprintf(" bad=%d", in.bad)
			}
			if err != nil {
				out = "error " + err.Error()
			}
			if out != tt.want && (err == nil || !strings.HasPrefix(out, tt.want)) {
				t.Errorf("got %q, want %q", out, tt.want)
			}
		})
	}
}
