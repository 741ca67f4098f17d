package pipeline

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/verp"
)

// arf is a complaint (RFC 5965) with such fields in its report.
func arf(fields string) string {
	return strings.ReplaceAll("From: fbl@x.test\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"+
		"--b\nContent-Type: text/plain\n\nThis is an abuse report.\n--b\nContent-Type: message/feedback-report\n\nUser-Agent: FBL/1\n"+fields+
		"\n--b\nContent-Type: message/rfc822\n\nSubject: hello\n\nhello\n--b--\n", "\n", "\r\n")
}

func TestComplaints(t *testing.T) {
	const abuse, named = "Feedback-Type: abuse\n", "Feedback-Type: abuse\nOriginal-Rcpt-To: ann@x.test\n"
	tests := []struct {
		name, action string
		detail       func(e *verp.Encoder) string
		fields       func(e *verp.Encoder) string
		status       list.Status
		history      string
		told         bool
	}{
		{"to the copy's own return path", "tell", keyedFor, always(abuse), list.Enabled, "complained: abuse, passed on by FBL/1", true},
		{"nobody wants to know", "record", keyedFor, always(abuse), list.Enabled, "complained: abuse, passed on by FBL/1", false},
		{"delivery is to be disabled", "disable", keyedFor, always(abuse), list.ByUser, "complained: abuse, passed on by FBL/1 disabled: abuse, passed on by FBL/1", true},
		{"the member is to go", "unsubscribe", keyedFor, always(abuse), "", "complained: abuse, passed on by FBL/1 left: abuse, passed on by FBL/1", true},
		{"the return path is in the report", "unsubscribe", always(""), func(e *verp.Encoder) string {
			path, _ := e.Recipient("ann@x.test")
			return abuse + "Original-Mail-From: <" + path + ">\n"
		}, "", "complained: abuse, passed on by FBL/1 left: abuse, passed on by FBL/1", true},
		{"anybody could have written it", "unsubscribe", always(""), always(named), list.Enabled,
			"complained: abuse, passed on by FBL/1 (anybody could have written it)", true},
		{"a batch proves nothing", "unsubscribe", func(e *verp.Encoder) string {
			path, _ := e.Batch()
			return strings.TrimSuffix(strings.TrimPrefix(path, "dev-bounces+"), "@lists.test") + "+ann=x.test"
		}, always(abuse), list.Enabled, "complained: abuse, passed on by FBL/1 (anybody could have written it)", true},
		{"it says the opposite", "unsubscribe", keyedFor, always("Feedback-Type: not-spam\n"), list.Enabled, "", true},
		{"about a stranger", "unsubscribe", always(""), always("Feedback-Type: abuse\nOriginal-Rcpt-To: eve@x.test\n"), list.Enabled, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, c := bounceWorld(t)
			if _, err := w.store.ChangeList(t.Context(), w.list.Address, map[string]*string{"complaint_action": &tt.action}); err != nil {
				t.Fatal(err)
			}
			secret, err := w.store.Secret(t.Context(), store.SecretVERP)
			if err != nil {
				t.Fatal(err)
			}
			e := verp.NewEncoder(verp.Derive(secret, w.list.Address), w.list.Address, c.now())
			w.bounced(c, tt.detail(e), arf(tt.fields(e)))
			if s := w.statusOf("ann@x.test"); s != tt.status {
				t.Errorf("it is %q", s)
			}
			events, err := w.store.MemberHistory(t.Context(), w.list.ID, addr(t, "ann@x.test"), 10)
			if err != nil {
				t.Fatal(err)
			}
			var history []string
			for _, h := range events {
				history = append(history, h.What+": "+h.Why)
			}
			if got := strings.Join(history, " "); got != tt.history {
				t.Errorf("history is %q", got)
			}
			out := &outbox{w: w}
			if tt.told {
				out.to("boss@x.test", "This is an abuse report")
			} else if out.collect(); len(out.mail) > 0 {
				t.Errorf("told: %+v", out.mail)
			}
		})
	}
}

// keyedFor is the detail of the return path of ann's copy.
func keyedFor(e *verp.Encoder) string {
	path, _ := e.Recipient("ann@x.test")
	return strings.TrimSuffix(strings.TrimPrefix(path, "dev-bounces+"), "@lists.test")
}

// always is a part of a case that needs no key.
func always(s string) func(*verp.Encoder) string { return func(*verp.Encoder) string { return s } }
