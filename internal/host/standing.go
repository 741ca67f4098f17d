package host

import (
	"strings"
	"sync"

	"github.com/mlist/mlist/sdk/wire"
)

// Most answers at RCPT are the same for everybody: that the envelope alone tells nothing. A
// plugin says of which answers that is so, and then is not asked again by the next sender of the
// same standing at the same list, as long as nothing is changed about either.

// answers are those of one process, by who gets them.
type answers struct {
	mu  sync.Mutex
	all map[string][]wire.Result
}

// maxAnswers bounds them; there is no harm in asking again.
const maxAnswers = 5000

func (a *answers) get(key string) ([]wire.Result, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.all[key]
	return r, ok
}

func (a *answers) put(key string, r []wire.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil || len(a.all) >= maxAnswers {
		a.all = map[string][]wire.Result{}
	}
	a.all[key] = r
}

// standing says who gets the same answer at RCPT from the stages; "" is nobody else. All that a
// stage can see then is in it, but for the sender's address, the client and the time.
func (c *group) standing(p *Post) string {
	if !p.AtRCPT || p.Shared == nil || p.Approved || len(p.Senders) > 1 ||
		len(p.List.Settings)+len(p.Notes)+len(p.SubmittedBy)+len(p.Envelope.Flags) > 0 {
		return ""
	}
	var b strings.Builder
	add := func(words ...string) {
		for _, w := range words {
			b.WriteString(w)
			b.WriteByte(0)
		}
	}
	add(p.Shared.Revision(), p.List.Address)
	add(c.stages...)
	add("")
	for _, s := range p.Senders {
		add("sender", s.Source, s.Ban)
		for _, m := range s.Memberships {
			add(m.Role, m.Action, m.Mode, m.Status, word(m.NoOwnPosts), word(m.NoDuplicates), word(m.AcknowledgePosts))
		}
	}
	if p.Envelope.Sender == "" {
		add("null")
	}
	return b.String()
}

func word(b bool) string {
	if b {
		return "t"
	}
	return ""
}

// remembered is call that does not ask where the answer is known.
func (c *group) remembered(p *Post, call func() ([]wire.Result, error)) ([]wire.Result, error) {
	key, proc := c.standing(p), c.plugin.now()
	if key == "" || proc == nil || proc.told == nil {
		return call()
	}
	if results, ok := proc.answers.get(key); ok {
		return results, nil
	}
	results, err := call()
	if err != nil || len(p.Notes) > 0 || c.plugin.now() != proc {
		return results, err
	}
	for _, r := range results {
		if !r.ByStanding() {
			return results, nil
		}
	}
	proc.answers.put(key, results)
	return results, nil
}

// now is the process, if it is there.
func (s *supervised) now() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}
