package mailfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// readAll returns the messages of an mbox.
func readAll(r io.Reader) (froms []From, messages []string, err error) {
	for m := NewReader(r); ; {
		from, err := m.Next()
		if err == io.EOF {
			return froms, messages, nil
		}
		if err != nil {
			return froms, messages, err
		}
		text, err := io.ReadAll(m)
		if err != nil {
			return froms, messages, err
		}
		froms, messages = append(froms, from), append(messages, string(text))
	}
}

func write(t testing.TB, messages ...string) string {
	t.Helper()
	var b bytes.Buffer
	m := NewMbox(&b)
	for _, text := range messages {
		if err := m.Add(From{"ann@x.test", noon}, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMboxIsWrittenAsItsReadersExpect(t *testing.T) {
	got := write(t, "Subject: x\r\n\r\nFrom here\r\n>From there\r\n> From nowhere\r\nFromage\r\n", "Subject: y\n\nno end", "")
	want := "From ann@x.test Mon Mar  2 12:00:00 2026\nSubject: x\n\n>From here\n>>From there\n> From nowhere\nFromage\n\n" +
		"From ann@x.test Mon Mar  2 12:00:00 2026\nSubject: y\n\nno end\n\n" +
		"From ann@x.test Mon Mar  2 12:00:00 2026\n\n"
	if got != want {
		t.Errorf("mbox is\n%s\nwant\n%s", got, want)
	}
}

func TestMboxIsReadAsItWasMeant(t *testing.T) {
	const line = "From ann@x.test Mon Mar  2 12:00:00 2026\n"
	for _, c := range []struct {
		name, mbox string
		want       []string
	}{
		{"empty", "", nil},
		{"one", line + "Subject: x\n\nbody\n\n", []string{"Subject: x\n\nbody\n"}},
		{"two", line + "a\n\n" + line + "b\n", []string{"a\n", "b\n"}},
		{"without the last line end", line + "a\n\n" + line + "b", []string{"a\n", "b"}},
		{"empty lines at the end are the message's, but for the last", line + "a\n\n\n\n" + line + "b\n", []string{"a\n\n\n", "b\n"}},
		{"quoted lines", line + "\n>From x\n>>From y\n> From z\n>Fromage\n", []string{"\nFrom x\n>From y\n> From z\n>Fromage\n"}},
		{"a From line without a date, that nobody quoted", line + "\nhello\n\nFrom there we went on\n\n" + line + "b\n", []string{"\nhello\n\nFrom there we went on\n", "b\n"}},
		{"a From line with half a date", line + "a\n\nFrom x Mon Mar 2\n", []string{"a\n\nFrom x Mon Mar 2\n"}},
		{"one that follows text", line + "a\n" + line + "b\n", []string{"a\n" + line + "b\n"}},
		{"empty lines first", "\n\n" + line + "a\n", []string{"a\n"}},
		{"CRLF", strings.ReplaceAll(line+"a\n\n"+line+"b\n", "\n", "\r\n"), []string{"a\r\n", "b\r\n"}},
		{"no message", line + line, []string{line}},
		{"a long line", line + strings.Repeat("x", 3*window) + "\n\n" + line + "b\n", []string{strings.Repeat("x", 3*window) + "\n", "b\n"}},
		{"long quotes", line + "\n" + strings.Repeat(">", 100) + "From x\n", []string{"\n" + strings.Repeat(">", 99) + "From x\n"}},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.mbox), iotest.HalfReader(strings.NewReader(c.mbox))} {
			froms, got, err := readAll(r)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
			}
			for _, f := range froms {
				if f != (From{"ann@x.test", noon}) {
					t.Errorf("%s: from %+v", c.name, f)
				}
			}
		}
	}
}

func TestSeparators(t *testing.T) {
	for _, c := range []struct {
		line, sender string
		at           time.Time
	}{
		{"From ann@x.test Mon Mar  2 12:00:00 2026\n", "ann@x.test", noon},
		{"From ann at x.test  Mon Mar  2 12:00:00 2026\n", "ann at x.test", noon}, // pipermail
		{"From - Mon Mar 02 12:00:00 2026\r\n", "-", noon},                        // Thunderbird
		{"From MAILER-DAEMON Mon Mar  2 12:00:00 2026", "MAILER-DAEMON", noon},
		{"From x Mon Mar 2 12:00 2026\n", "x", noon},
		{"From x Mon Mar  2 13:00:00 +0100 2026\n", "x", noon},
		{"From x Mon Mar  2 12:00:00 2026 +0000\n", "x", noon}, // takeout
		{"From x Mon Mar  2 12:00:00 GMT 2026\n", "x", noon},
		{"From Mon Mar  2 12:00:00 2026\n", "", time.Time{}}, // of nobody
		{"From x Mon Mar 42 12:00:00 2026\n", "", time.Time{}},
		{"From x Mon Mar  2 12:00:00 2026 or so\n", "", time.Time{}},
		{"From: x Mon Mar  2 12:00:00 2026\n", "", time.Time{}},
		{"from x Mon Mar  2 12:00:00 2026\n", "", time.Time{}},
		{"From " + strings.Repeat("x ", 600) + "Mon Mar  2 12:00:00 2026\n", "", time.Time{}},
	} {
		from, ok := separator([]byte(c.line))
		if ok == c.at.IsZero() || from.Sender != c.sender || !from.Time.Equal(c.at) {
			t.Errorf("%q: %+v, %t", c.line, from, ok)
		}
	}
}

func TestWhatIsNoMboxIsRefused(t *testing.T) {
	for _, s := range []string{"Subject: x\n\nbody\n", "From nobody\n", strings.Repeat("x", 2*window), "\x1f\x8b\x08"} {
		if _, _, err := readAll(strings.NewReader(s)); !errors.Is(err, ErrNoMbox) {
			t.Errorf("%.20q: %v", s, err)
		}
	}
	broken := errors.New("the disk is gone")
	_, got, err := readAll(io.MultiReader(strings.NewReader(write(t, "a\n", "b\n")), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
}

// What was written is read again, but for the line ends: CRLF is LF there, and the last line
// has an end.
func TestMboxIsReadAsItWasWritten(t *testing.T) {
	line := rapid.OneOf(rapid.Just("From ann@x.test Mon Mar  2 12:00:00 2026"), rapid.Just(">From x"), rapid.Just(""), rapid.Just("From "), rapid.StringMatching(`[>From xyz\r]{0,12}`),
		rapid.Custom(func(rt *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{">", "x", "\r"}).Draw(rt, "c"), rapid.IntRange(window-3, window+3).Draw(rt, "n"))
		}))
	message := rapid.Custom(func(rt *rapid.T) string {
		return strings.Join(rapid.SliceOfN(line, 0, 8).Draw(rt, "lines"), rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(rt, "eol"))
	})
	rapid.Check(t, func(rt *rapid.T) {
		messages := rapid.SliceOfN(message, 0, 4).Draw(rt, "messages")
		_, got, err := readAll(strings.NewReader(write(t, messages...)))
		if err != nil || len(got) != len(messages) {
			rt.Fatalf("%d messages are read as %d: %v", len(messages), len(got), err)
		}
		for i, m := range messages {
			want := strings.ReplaceAll(m, "\r\n", "\n")
			if want != "" && !strings.HasSuffix(want, "\n") {
				want += "\n"
			}
			if got[i] != want {
				rt.Fatalf("%.200q is read as %.200q", want, got[i])
			}
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("From ann@x.test Mon Mar  2 12:00:00 2026\nSubject: x\n\n>From\n\nFrom x\n\nFrom ann@x.test Mon Mar  2 12:00:00 2026\nb"))
	f.Fuzz(func(t *testing.T, mbox []byte) {
		froms, messages, err := readAll(bytes.NewReader(mbox))
		if err != nil && !errors.Is(err, ErrNoMbox) {
			t.Fatal(err)
		}
		size := 0
		for _, m := range messages {
			size += len(m)
		}
		if size > len(mbox) || len(froms) != len(messages) {
			t.Fatalf("%d octets of %d", size, len(mbox))
		}
	})
}

func TestMaildir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir")
	for range 2 { // the second time it is there
		m, err := NewMaildir(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Add("1.x", strings.NewReader("Subject: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", ".x", "a/b", "a:b"} {
			if err := m.Add(bad, strings.NewReader("")); err == nil {
				t.Errorf("%q was taken", bad)
			}
		}
		broken := errors.New("the disk is gone")
		if err := m.Add("2.x", iotest.ErrReader(broken)); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	}
	files, err := filepath.Glob(filepath.Join(path, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if text, err := os.ReadFile(filepath.Join(path, "new", "1.x")); err != nil || string(text) != "Subject: x\r\n\r\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestLinesOfAFileBecomeThoseOfMail(t *testing.T) {
	for in, want := range map[string]string{"": "", "\n": "\r\n", "a\nb\r\nc": "a\r\nb\r\nc", "\r\r\n\n\r": "\r\r\n\r\n\r", "a\r": "a\r",
		strings.Repeat("x\n", window): strings.Repeat("x\r\n", window)} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			if got, err := io.ReadAll(WithCRLF(r)); err != nil || string(got) != want {
				t.Errorf("%.20q: %.40q, %v", in, got, err)
			}

		}
	}
	if got, err := io.ReadAll(iotest.OneByteReader(WithCRLF(strings.NewReader("a\nb\n")))); err != nil || string(got) != "a\r\nb\r\n" {
		t.Errorf("octet by octet: %q, %v", got, err)
	}
	broken := errors.New("the disk is gone")
	if got, err := io.ReadAll(WithCRLF(io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(broken)))); !errors.Is(err, broken) || string(got) != "a\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}
