package main

import (
	"bytes"
	"errors"
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
