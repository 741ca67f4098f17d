package lmtpd

import (
	"io"
	"testing"
)

func TestTheMessageIDOfTheTrace(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"as it should be", "From: a@x\r\nMessage-ID: <1@net.test>\r\n\r\nMessage-ID: <2@x>\r\n", "<1@net.test>"},
		{"folded, with a comment", "message-id:\r\n (by hand) <1@net.test> (so)\r\n\r\nx", "<1@net.test>"},
		{"without brackets", "Message-ID: 1@net.test\r\n\r\nx", "1@net.test"},
		{"half a bracket", "Message-ID: <1@net.test\r\n\r\nx", "<1@net.test"},
		{"none", "From: a@x\r\n\r\nMessage-ID: <2@x>\r\n", ""},
		{"no header block", "\r\nMessage-ID: <2@x>\r\n", ""},
		{"text without fields", "hello there\r\nMessage-ID: <2@x>\r\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := &intake{draft: io.Discard, cfg: &Config{MaxMessageSize: 1000, MaxHeaderSize: 500}}
			if refusal, err := in.take([]byte(tt.text)); refusal != nil || err != nil {
				t.Fatal(refusal, err)
			}
			if refusal := in.end(); refusal != nil {
				t.Fatal(refusal)
			}
			if got := in.messageID(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
