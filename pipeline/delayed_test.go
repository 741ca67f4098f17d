package pipeline

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/spool"
)

func TestOwnersAreToldOfADelayOnceADay(t *testing.T) {
	w, c := bounceWorld(t)
	out := &outbox{w: w}
	late := strings.NewReplacer("Action: failed", "Action: delayed", "smtp; 550", "smtp; 450").Replace(dsn("ann@x.test", "4.3.0"))
	w.bounced(c, "", late, spool.FlagOutbound)
	text := out.to("boss@x.test", "a post is delayed").text
	if !strings.Contains(text, "ann@x.test") || !strings.Contains(text, "450 4.3.0 refused") {
		t.Errorf("told: %s", text)
	}
	w.bounced(c, "", late, spool.FlagOutbound)
	if out.collect(); len(out.mail) > 0 {
		t.Errorf("told twice: %+v", out.mail)
	}
	c.days(1)
	w.bounced(c, "", late, spool.FlagOutbound)
	out.to("boss@x.test", "a post is delayed")
	if st := w.scoreOf("ann@x.test"); st.Score != 0 {
		t.Errorf("score %+v", st)
	}
	// What somebody else says is a matter of the member.
	c.days(1)
	w.bounced(c, "", late)
	if out.collect(); len(out.mail) > 0 {
		t.Errorf("told of a stranger's word: %+v", out.mail)
	}
}
