package trace

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPosts(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 23, 0, 0, 0, time.UTC)
	j := at(dir, Options{}, &now)
	defer j.Close()
	prepare := func(letter, list string, number, chunks int) {
		args := []any{"recipients", 2, "chunks", chunks}
		if number > 0 {
			args = append(args, "number", number)
		}
		j.Trace(id(letter), list, Prepared, args...)
	}
	sent := func(letter, chunk string, accepted, left int, replies ...Reply) {
		j.Trace(id(letter), "dev@l.test", Sent, "chunk", chunk, "accepted", accepted, "left", left, "replies", replies)
	}
	prepare("a", "dev@l.test", 1, 1)
	sent("a", "1", 2, 0)
	prepare("b", "dev@l.test", 2, 1)
	sent("b", "1", 1, 1, Reply{Recipient: "ann@x.test", Outcome: "deferred", Reply: "450 later"})
	prepare("c", "ops@l.test", 9, 1) // of another list
	prepare("d", "dev@l.test", 0, 1) // a notice
	now = now.Add(2 * time.Hour)     // and into the next day's file
	sent("b", "1", 0, 0, Reply{Recipient: "ann@x.test", Outcome: "refused", Reply: "550 no"})
	prepare("e", "dev@l.test", 3, 2)
	sent("e", "1", 1, 0)
	prepare("f", "dev@l.test", 4, 1)
	j.Trace(id("f"), "dev@l.test", Recalled, "recipients", 2)
	all := "a 2/2 done; b 1/2 done ann@x.test deferred 450 later, ann@x.test refused 550 no; e 1/2; f 0/2 recalled"
	for n, want := range map[int]string{10: all, 4: all, 3: all[strings.Index(all, "b "):], 1: "f 0/2 recalled", 0: ""} {
		posts, err := Posts(t.Context(), dir, "dev@l.test", n)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range posts {
			s := fmt.Sprintf("%s %d/%d", p.Entry[:1], p.Accepted, p.Recipients)
			if p.Done {
				s += " done"
			}
			if p.Recalled {
				s += " recalled"
			}
			for i, r := range p.Named {
				s += strings.Repeat(",", min(i, 1)) + " " + r.Recipient + " " + r.Outcome + " " + r.Reply
			}
			got = append(got, s)
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("of %d: %s, want %s", n, text, want)
		}
	}
	if posts, err := Posts(t.Context(), dir+"/none", "dev@l.test", 5); err != nil || len(posts) != 0 {
		t.Errorf("where there is no journal: %v, %v", posts, err)
	}
}
