package main

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// BenchmarkPost is what the handlers themselves take for one ordinary post.
func BenchmarkPost(b *testing.B) {
	c := post("")
	header := []byte(strings.Repeat("Received: from a.example (a.example [192.0.2.1]) by b.example;\r\n\tTue, 1 Jul 2025 10:00:00 +0200\r\n", 6) +
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.org;\r\n\tb=" + strings.Repeat("A", 300) + "\r\n" +
		"Message-ID: <1@example.org>\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\nFrom: Ann <ann@example.org>\r\nTo: Dev <dev@lists.example.org>\r\n" +
		"Subject: Re: =?utf-8?Q?Caf=C3=A9?= topic\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n")
	body := strings.NewReader(strings.Repeat("hello\r\n", 300))
	all := stages(noDNS)
	for b.Loop() {
		p := &sdk.Post{Entry: "aaaaaaaaaaaaaaaa", Number: 7, List: sdk.List{Address: "dev@lists.example.org", Settings: settings},
			Envelope: c.Envelope, Senders: c.Senders, Header: message.ParseHeader(header), Body: message.NewBody(body, 0, body.Size())}
		for _, s := range all {
			if v, err := s.Handler.Handle(b.Context(), p); err != nil || v != sdk.Accept {
				b.Fatalf("%s: %v, %v", s.Name, v, err)
			}
		}
	}
}
