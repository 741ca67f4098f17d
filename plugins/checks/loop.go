package checks

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// LoopConfig is [plugin.loop].
type LoopConfig struct {
	MaxReceived int `json:"max_received" help:"more Received fields than this are a loop"`
}

// Validate refuses a limit that would stop ordinary mail.
func (c *LoopConfig) Validate() error {
	if c.MaxReceived < 5 {
		return fmt.Errorf("max_received %d: want 5 or more, for ordinary mail has some", c.MaxReceived)
	}
	return nil
}

// loop is stage "loop". Only this list's own mark is a loop: a post may come through
// other lists, for lists may be members of lists.
type loop struct{ config LoopConfig }

// Config implements sdk.Configurer.
func (l *loop) Config() any { return &l.config }

// Handle implements sdk.Handler.
func (l *loop) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if p.AtRCPT { // it can only refuse
		p.ByStanding()
		return sdk.Accept, nil
	}
	if p.Approved {
		return sdk.Accept, nil
	}
	if beenHere(p) {
		return sdk.Discard("loop", "The post has already been through this list."), nil
	}
	if n := countFields(p.Header, "Received"); n > l.config.MaxReceived {
		return sdk.Reject("too-many-hops", fmt.Sprintf("The post has been through %d mail servers, which looks like a loop.", n)), nil
	}
	return sdk.Accept, nil
}

// beenHere goes by X-BeenThere, and by a List-Post with the list's address, which also
// stays where another list manager has taken X-BeenThere away. A List-Id cannot tell:
// dev.eu@lists.example.org and dev@eu.lists.example.org have the same.
//
// What went through the list before it was renamed has the mark of an older address.
func beenHere(p *sdk.Post) bool {
	var ours []string
	for _, addr := range p.List.Addresses() {
		ours = append(ours, message.ListMark(addr))
	}
	if slices.ContainsFunc(p.Header.Values("X-BeenThere"), func(v string) bool { return slices.Contains(ours, strings.ToLower(v)) }) {
		return true
	}
	return slices.ContainsFunc(p.Header.Values("List-Post"), func(v string) bool { return postsTo(v, p.List) })
}

// postsTo tells whether a List-Post (RFC 2369) names an address of the list.
func postsTo(value string, l sdk.List) bool {
	for part := range strings.SplitSeq(value, ",") {
		addr, ok := strings.CutPrefix(strings.ToLower(strings.Trim(strings.TrimSpace(part), "<>")), "mailto:")
		if !ok {
			continue
		}
		addr, _, _ = strings.Cut(addr, "?")
		if plain, err := url.PathUnescape(addr); err == nil {
			addr = plain
		}
		if l.Is(addr) {
			return true
		}
	}
	return false
}

func countFields(h *message.Header, name string) int {
	n := 0
	for f := range h.Fields() {
		if strings.EqualFold(f.Name, name) {
			n++
		}
	}
	return n
}
