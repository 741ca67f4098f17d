package pipeline

import (
	"testing"

	"github.com/mlist/mlist/sdk/message"
)

// Whom RFC 3834 lets a program answer, and whom it does not.
func TestWhoIsAPerson(t *testing.T) {
	for _, c := range []struct {
		name, sender, header string
		want                 bool
	}{
		{"anybody", "ann@net.test", "From: ann@net.test\r\n", true},
		{"who says so", "ann@net.test", "Auto-Submitted: no (I type this)\r\nPrecedence: first-class\r\nX-Ack: yes\r\n", true},
		{"a name that only sounds like a machine's", "requester@net.test", "", true},
		{"a bounce address of one's own (BATV)", "prvs=0123abcdef=ann@net.test", "", true},
		{"the null sender", "", "", false},
		{"a sender that is none", "#@[]", "", false},
		{"generated", "ann@net.test", "auto-submitted: Auto-Generated\r\n", false},
		{"notified", "ann@net.test", "Auto-Submitted: auto-notified; owner-email=\"x\"\r\n", false},
		{"behind a comment", "ann@net.test", "Auto-Submitted: (no) auto-replied\r\n", false},
		{"in a second field", "ann@net.test", "Auto-Submitted: no\r\nAuto-Submitted: auto-replied\r\n", false},
		{"bulk with a comment", "ann@net.test", "Precedence: bulk (really)\r\n", false},
		{"junk in a second field", "ann@net.test", "Precedence: normal\r\nPrecedence: JUNK\r\n", false},
		{"a list's help", "ann@net.test", "List-Help: <mailto:x@y.test>\r\n", false},
		{"a list's archive", "ann@net.test", "List-Archive: <https://y.test/>\r\n", false},
		{"a list's owner", "ann@net.test", "LIST-OWNER: <mailto:x@y.test>\r\n", false},
		{"a list's subscription", "ann@net.test", "List-Subscribe: <mailto:x@y.test>\r\n", false},
		{"a list of another kind", "ann@net.test", "Mailing-List: contact x-help@y.test; run by ezmlm\r\n", false},
		{"who wants no answer", "ann@net.test", "X-Ack: No\r\n", false},
		{"nor one of Exchange", "ann@net.test", "X-Auto-Response-Suppress: OOF, AutoReply\r\n", false},
		{"a delivery report with a sender", "ann@net.test", "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n", false},
		{"MAILER-DAEMON", "Mailer-Daemon@net.test", "", false},
		{"a request address", "dev-request@net.test", "", false},
		{"an owner of old", "owner-dev@net.test", "", false},
		{"bounces", "dev-bounces+ann=net.test@lists.test", "", false},
		{"the bounces of ezmlm", "dev-return-4711-ann=net.test@lists.test", "", false},
		{"noreply", "no_reply@net.test", "", false},
	} {
		if _, got := personal(c.sender, message.ParseHeader([]byte(c.header))); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
