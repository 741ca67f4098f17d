package checks

import (
	"context"
	"fmt"

	"github.com/mlist/mlist/sdk"
)

// limits is stage "limits": what is held, whoever sent it.
type limits struct{ patterns *patterns }

// Handle implements sdk.Handler.
func (h *limits) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if p.Approved || p.Notes[noteAccepted] != "" {
		return sdk.Accept, nil
	}
	for _, check := range []func(*sdk.Post) (sdk.Verdict, bool){author, size, recipients, h.destination} {
		if v, bad := check(p); bad {
			return v, nil
		}
	}
	return sdk.Accept, nil
}

// author wants one From field (RFC 5322 3.6). With two, what the checks read and what
// a mail program shows could be different people.
func author(p *sdk.Post) (sdk.Verdict, bool) {
	if n := countFields(p.Header, "From"); n > 1 {
		return sdk.Hold("bad-from", fmt.Sprintf("The post has %d From fields, where one is allowed.", n)), true
	}
	if len(p.Header.Mailboxes("From")) == 0 {
		return sdk.Hold("bad-from", "The post has no address in From."), true
	}
	return sdk.Verdict{}, false
}

func size(p *sdk.Post) (sdk.Verdict, bool) {
	limit := int64(p.List.Int("max_message_size")) * 1024
	if limit == 0 {
		return sdk.Verdict{}, false
	}
	octets := int64(len(p.Header.Bytes()))
	if p.Body != nil {
		octets += p.Body.Size()
	}
	if octets <= limit {
		return sdk.Verdict{}, false
	}
	return sdk.Hold("too-big", fmt.Sprintf("The post has %d KB; this list takes up to %d KB.", (octets+1023)/1024, limit/1024)), true
}

func recipients(p *sdk.Post) (sdk.Verdict, bool) {
	limit := p.List.Int("max_num_recipients")
	if limit == 0 {
		return sdk.Verdict{}, false
	}
	n := len(p.Header.Mailboxes("To", "Cc"))
	if n < limit {
		return sdk.Verdict{}, false
	}
	return sdk.Hold("too-many-recipients", fmt.Sprintf("The post names %d recipients; this list takes fewer than %d.", n, limit)), true
}

func (h *limits) destination(p *sdk.Post) (sdk.Verdict, bool) {
	if !p.List.Bool("require_explicit_destination") {
		return sdk.Verdict{}, false
	}
	for _, m := range p.Header.Mailboxes("To", "Cc", "Resent-To", "Resent-Cc") {
		if isList(p.List, m.Address) || h.patterns.match(p.List, "acceptable_aliases", m.Address) {
			return sdk.Verdict{}, false
		}
	}
	return sdk.Hold("implicit-dest", "The post does not name the list in To or Cc."), true
}
