package main

import (
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/trace"
)

func TestWhatBecameOfAPost(t *testing.T) {
	ann, err := address.Parse("ann@net.test")
	if err != nil {
		t.Fatal(err)
	}
	later, no := trace.Reply{Recipient: "Ann@NET.test", Outcome: "deferred", Reply: "450 later"}, trace.Reply{Recipient: "ann@net.test", Outcome: "refused", Reply: "550 no"}
	bob := trace.Reply{Recipient: "bob@net.test", Outcome: "refused", Reply: "550 bob"}
	tests := []struct {
		name    string
		post    trace.Post
		bounces []bounceJSON
		want    string
	}{
		{"the MTA took all", trace.Post{Recipients: 2, Accepted: 2, Done: true}, nil, "the MTA took it for 2 of 2 recipients"},
		{"another was refused", trace.Post{Recipients: 2, Accepted: 1, Done: true, Named: []trace.Reply{bob}}, nil, "the MTA took it for 1 of 2 recipients"},
		{"it was refused", trace.Post{Recipients: 2, Accepted: 1, Done: true, Named: []trace.Reply{later, no}}, nil, "refused: 550 no"},
		{"it was deferred, and then taken", trace.Post{Recipients: 2, Accepted: 2, Done: true, Named: []trace.Reply{later}}, nil, "the MTA took it for 2 of 2 recipients"},
		{"it is deferred", trace.Post{Recipients: 2, Accepted: 1, Named: []trace.Reply{later, bob}}, nil, "deferred: 450 later"},
		{"it is on its way", trace.Post{Recipients: 1, Accepted: 0}, nil, "on its way; the MTA took it for 0 of 1 recipient so far"},
		{"the rest was recalled", trace.Post{Recipients: 2, Accepted: 1, Recalled: true}, nil, "recalled, after the MTA took it for 1 of 2 recipients"},
		{"it was refused among too many to name", trace.Post{Entry: "e", Recipients: 2, Done: true}, []bounceJSON{{Post: "e", Text: "550 no"}}, "refused: 550 no"},
		{"another post bounced", trace.Post{Entry: "e", Recipients: 2, Accepted: 2, Done: true}, []bounceJSON{{Post: "f", Text: "550 no"}}, "the MTA took it for 2 of 2 recipients"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := whatBecame(tt.post, ann, tt.bounces).String(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
