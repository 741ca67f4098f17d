package pipeline

import (
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
)

// wish is what a request is for, in words that stand within a sentence.
func (c *commander) wish(reader string, r store.Request) string { return c.d.wish(c.p.list, reader, r) }

func (d *Daemon) wish(l *list.List, reader string, r store.Request) string {
	say := func(name string, v templates.Values) string { return d.texts().Phrase(l, reader, name, v) }
	switch r.Want {
	case store.WantJoin:
		return say("wish_join", nil)
	case store.WantLeave:
		return say("wish_leave", nil)
	case store.WantInvite:
		return say("wish_invite", templates.Values{"number": strconv.Itoa(len(r.More.Invite))})
	case store.WantMove, store.WantLink, store.WantUnlink:
		return say("wish_"+string(r.Want), templates.Values{"new_address": r.More.To.String()})
	}
	var changes []string
	switch r.Status {
	case list.ByUser:
		stop := say("wish_stop", nil)
		if r.More.Until != nil {
			stop = say("wish_stop_until", templates.Values{"date": r.More.Until.Format(time.DateOnly)})
		}
		changes = append(changes, stop)
	case list.Enabled:
		changes = append(changes, say("wish_resume", nil))
	}
	if r.Mode != "" {
		changes = append(changes, say("wish_mode", templates.Values{"mode": say("mode_"+string(r.Mode), nil)}))
	}
	if r.Language != "" {
		changes = append(changes, say("wish_language", templates.Values{"language": r.Language}))
	}
	for _, choice := range []struct {
		set    *bool
		phrase string
	}{{r.More.NoOwnPosts, "wish_own"}, {r.More.NoDuplicates, "wish_duplicates"}, {r.More.Acknowledge, "wish_acknowledge"}} {
		if choice.set != nil {
			yes := *choice.set == (choice.phrase == "wish_acknowledge") // the others say what is not sent
			changes = append(changes, say(choice.phrase+map[bool]string{true: "_on", false: "_off"}[yes], nil))
		}
	}
	if r.More.Topics != nil {
		phrase := "wish_topics"
		if *r.More.Topics == "" {
			phrase = "wish_all_topics"
		}
		changes = append(changes, say(phrase, templates.Values{"topics": strings.ReplaceAll(*r.More.Topics, "\n", ", ")}))
	}
	for len(changes) > 1 {
		changes = append([]string{say("wish_both", templates.Values{"one": changes[0], "other": changes[1]})}, changes[2:]...)
	}
	return say("wish_change", templates.Values{"changes": strings.Join(changes, "")})
}
