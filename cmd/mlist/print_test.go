package main

import (
	"strings"
	"testing"
	"time"
)

func TestWhatStrangersWroteDoesNothingToATerminal(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain text", "Grüße, 你好", "Grüße, 你好"},
		{"an escape sequence", "a\x1b[2Jb", `a\x1b[2Jb`},
		{"a line break", "a\r\nb", `a\r\nb`},
		{"a C1 control", "a\u009b1mb", `a\u009b1mb`},
		{"text turned around", "a\u202eb", `a\u202eb`},
		{"joiners that names need", "می\u200cخواهم", "می\u200cخواهم"},
		{"invalid UTF-8", "a\x80b", `a\x80b`},
		{"a quote", "it's", "it's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := printable(tt.in, false); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := printable("a\n\tb\r", true); got != "a\n\tb\\r" {
		t.Errorf("of several lines: %q", got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tests := []struct{ got, want string }{
		{thousands(0), "0"}, {thousands(999), "999"}, {thousands(1000), "1,000"}, {thousands(1234567), "1,234,567"}, {thousands(-123456), "-123,456"},
		{count(1, "member", "members"), "1 member"}, {count(2000, "member", "members"), "2,000 members"},
		{age(now.Add(-59*time.Second), now), "59s"}, {age(now.Add(-3*time.Hour), now), "3h"}, {age(now.Add(-72*time.Hour), now), "3d"},
		{age(time.Time{}, now), "-"}, {age(now.Add(time.Hour), now), "0s"},
		{size(75), "75"}, {size(20 << 10), "20KB"}, {size(1536 << 10), "1536KB"}, {size(30<<20 + 5), "30MB"}, {size(9 << 30), "9GB"}, {size(54<<30 + 7<<20), "54GB"},
		{cut("abcdef", 6), "abcdef"}, {cut("abcdefg", 6), "abcde…"}, {cut("äöü", 2), "ä…"},
		{bar(1500, 0.5, time.Second), "[" + strings.Repeat("=", 15) + strings.Repeat(" ", 15) + "]  50%         1,500       1,500/s"},
		{bar(1500, -1, time.Second), "        1,500       1,500/s"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
