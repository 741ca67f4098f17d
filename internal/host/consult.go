package host

import (
	"context"
	"maps"
)

// Consult asks the stages that judge at SMTP time what they say to a post while its
// sender's session waits, in their configured order, and within Config.ConsultTimeout. The
// post may lack its body: then those that need one are left out. Nothing comes of it but
// the result: the post stays as it is, state, submissions and counters are left alone, and
// a failure, which is an *Error or ErrClosed, says nothing about the post: it is judged
// again when it is there.
func (h *Host) Consult(ctx context.Context, p *Post) (Result, error) {
	g, err := h.enter()
	if err != nil {
		return Result{}, err
	}
	defer g.leave()
	ctx, cancel := context.WithTimeout(ctx, g.consult)
	defer cancel()
	asked := *p
	asked.AtSMTP, asked.Notes = true, maps.Clone(p.Notes) // no edit is made, but for notes
	return g.run(ctx, &asked, nil)
}

// ConsultEnvelope asks the stages that judge by the envelope alone, when the sender's session
// is at RCPT, as Consult does: those at the head of the order, up to the first that does not.
// A rejection holds whatever the message will be; anything else says nothing.
func (h *Host) ConsultEnvelope(ctx context.Context, p *Post) (Result, error) {
	asked := *p
	asked.AtRCPT = true
	return h.Consult(ctx, &asked)
}
