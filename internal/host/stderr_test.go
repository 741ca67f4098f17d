package host

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestLinesOfAPluginBecomeRecords(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"a plain line", "hello\n", "level=INFO msg=hello"},
		{"a record of slog", `{"time":"2026-01-01T00:00:00Z","level":"WARN","msg":"odd","n":5,"who":"x"}` + "\n", "level=WARN msg=odd n=5 who=x"},
		{"a level that is none", `{"level":"LOUD","msg":"odd"}` + "\n", "level=INFO msg=odd"},
		{"JSON of unexpected types", `{"@message": 5, "msg": 7}` + "\n", "@message"},
		{"JSON that is no object", "null\n", "level=INFO msg=null"},
		{"an escape sequence", "a\x1b[2Jb\n", "a\uFFFD[2Jb"},
		{"a record with an escape sequence", `{"msg":"a\u001b[2Jb"}` + "\n", "a\uFFFD[2Jb"},
		{"bytes that are not UTF-8", "a\xff\n", "a\uFFFD"},
		{"an empty line", "\r\n", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			l := newStderrLog(textLogger(&out))
			for _, b := range []byte(c.in) { // in the smallest pieces
				if n, err := l.Write([]byte{b}); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			if got := out.String(); !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("%q became %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func textLogger(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, nil))
}

func TestALineWithoutEndIsBounded(t *testing.T) {
	var out bytes.Buffer
	l := newStderrLog(textLogger(&out))
	for range 1000 {
		if _, err := l.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Write([]byte("\nnext\n")); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 2*maxLine || !strings.Contains(out.String(), "msg=next") {
		t.Errorf("%d bytes were logged", out.Len())
	}
}

func TestAFloodOfLinesIsCounted(t *testing.T) {
	var out bytes.Buffer
	l := newStderrLog(textLogger(&out))
	now := time.Unix(1e9, 0)
	l.now = func() time.Time { return now }
	for range 5000 {
		_, _ = l.Write([]byte("flood\n")) // never fails
	}
	now = now.Add(time.Second)
	_, _ = l.Write([]byte("later\n"))
	if n := strings.Count(out.String(), "msg=flood"); n != maxRate {
		t.Errorf("%d lines were logged, want %d", n, maxRate)
	}
	if !strings.Contains(out.String(), "dropped_lines=4800") || !strings.Contains(out.String(), "msg=later") {
		t.Error("the dropped lines were not counted, or what came later was dropped too")
	}
}

func TestTheLineThatNamesTheCrashIsKept(t *testing.T) {
	var out bytes.Buffer
	l := newStderrLog(textLogger(&out))
	_, _ = l.Write([]byte("start\npanic: out of biscuits\n\n" + strings.Repeat("goroutine 1 [running]:\n", 100)))
	cause, tail := l.last()
	if cause != "panic: out of biscuits" || len(tail) != tailSize {
		t.Errorf("cause %q, %d lines", cause, len(tail))
	}
}

func FuzzStderr(f *testing.F) {
	f.Add([]byte("{\"msg\":\"x\",\"level\":\"INFO\"}\nplain\n"), 3)
	f.Add([]byte(`{"msg":{"a":[1,2]},"@message":5}`+"\nnull\n[]\n{}\n"), 1)
	f.Add([]byte("panic: \x00\xff\n"), 2)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		var out bytes.Buffer
		l := newStderrLog(slog.New(slog.NewJSONHandler(&out, nil)))
		step = max(1, step&0xff)
		for len(data) > 0 {
			n := min(step, len(data))
			_, _ = l.Write(data[:n]) // never fails
			data = data[n:]
		}
		_, _ = l.Write([]byte("\n"))
		for _, line := range bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
			if len(line) > 0 && !json.Valid(line) {
				t.Errorf("the log is broken: %q", line)
			}
		}
		cause, tail := l.last()
		for _, s := range append(tail, cause) {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0x1b) {
				t.Errorf("the tail has %q", s)
			}
		}
	})
}
