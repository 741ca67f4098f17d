package lmtpd

import (
	"errors"
	"strings"
	"testing"
)

func TestLineCheck(t *testing.T) {
	tests := []struct {
		name, in string
		good     int
		err      error
	}{
		{"lines that end in CRLF", "ab\r\n\r\nc\r\n", 9, nil},
		{"an unfinished line", "ab", 2, nil},
		{"a bare LF", "ab\nc", 2, errBareNewline},
		{"a bare LF at the start", "\nab", 0, errBareNewline},
		{"a bare CR", "ab\rc\r\n", 3, errBareNewline},
		{"two CRs", "ab\r\r\n", 3, errBareNewline},
		{"a line at the limit", strings.Repeat("x", 10) + "\r\n", 12, nil},
		{"a line over the limit", strings.Repeat("x", 11) + "\r\n", 0, errLongLine},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := lineCheck{limit: 10}
			good, newline, err := l.check([]byte(tt.in))
			if good != tt.good || !errors.Is(err, tt.err) || newline != strings.Contains(tt.in[:good], "\r\n") {
				t.Errorf("check = %d, %v, %v", good, newline, err)
			}
		})
	}
}

// However a stream is cut into reads, the verdict on it is the same, and what passes has
// no CR or LF apart from the other.
func FuzzLineCheck(f *testing.F) {
	f.Add([]byte("ab\r\ncd\r\n"), uint8(3))
	f.Add([]byte("ab\rcd\n"), uint8(1))
	f.Add([]byte("0123456789012\r\n"), uint8(4))
	f.Add([]byte("0123456789012\n"), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		whole := lineCheck{limit: 10}
		good, _, err := whole.check(in)
		passed := string(in[:good])
		rest := strings.TrimSuffix(strings.ReplaceAll(passed, "\r\n", ""), "\r")
		if strings.ContainsAny(rest, "\r\n") {
			t.Fatalf("%q passed", passed)
		}
		pieces := lineCheck{limit: 10}
		sum := 0
		for left := in; len(left) > 0; {
			n := min(int(step)+1, len(left))
			g, _, e := pieces.check(left[:n])
			sum += g
			if e != nil {
				if !errors.Is(e, err) {
					t.Fatalf("in pieces %v, whole %v", e, err)
				}
				return
			}
			left = left[n:]
		}
		if err != nil || sum != good {
			t.Fatalf("in pieces %d good, whole %d and %v", sum, good, err)
		}
	})
}
