package checks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// The rules that remember what a sender posted before. What they remember is committed
// with the post: one that is held or rejected does not count, one that a moderator lets
// through does.

// firstPosts holds a new member's first posts. A moderator who trusts the member sooner
// gives them an action of their own, such as "defer".
func firstPosts(ctx context.Context, v *view) (finding, error) {
	first := v.List.Int("moderate_until_posts")
	s, m, ok := v.member()
	if first == 0 || !ok || m.Action != "" {
		return finding{}, nil
	}
	n, err := v.State().Int(ctx, stateKey("first-posts", s.Address))
	if err != nil || n >= int64(first) {
		return finding{}, err
	}
	return decided(sdk.Hold("first-posts", fmt.Sprintf("The first posts of a member are held for a moderator: this is number %d of %d.", n+1, first))), nil
}

// countFirst counts until there are enough.
func countFirst(ctx context.Context, v *view) (sdk.Verdict, error) {
	first := v.List.Int("moderate_until_posts")
	s, _, ok := v.member()
	if first == 0 || !ok {
		return sdk.Accept, nil
	}
	key := stateKey("first-posts", s.Address)
	n, err := v.State().Int(ctx, key)
	if err != nil || n >= int64(first) {
		return sdk.Accept, err
	}
	return sdk.Accept, v.State().Add(key, 1)
}

// windows are the spans of time that posts are counted in.
var windows = []struct {
	setting, name string
	span          time.Duration
}{{"max_posts_per_hour", "an hour", time.Hour}, {"max_posts_per_day", "a day", 24 * time.Hour}}

// rate holds what one sender posts beyond the list's limits.
func rate(ctx context.Context, v *view) (finding, error) {
	times, err := v.posted(ctx)
	if err != nil {
		return finding{}, err
	}
	now := v.Envelope.Received
	for _, w := range windows {
		n := 0
		for _, t := range times {
			if now.Sub(t) < w.span {
				n++
			}
		}
		if limit := v.List.Int(w.setting); limit > 0 && n >= limit {
			return decided(sdk.Hold("rate", fmt.Sprintf("This sender has posted %d times within %s; this list takes %d.", n, w.name, limit))), nil
		}
	}
	return finding{}, nil
}

// countRate remembers when the post came in, and forgets what no longer counts.
func countRate(ctx context.Context, v *view) (sdk.Verdict, error) {
	key, keep := v.rateKey()
	if keep == 0 {
		return sdk.Accept, nil
	}
	times, err := v.posted(ctx)
	if err != nil {
		return sdk.Accept, err
	}
	times = append(times, v.Envelope.Received)
	var text []string
	for _, t := range times[max(0, len(times)-keep):] {
		if v.Envelope.Received.Sub(t) < windows[len(windows)-1].span {
			text = append(text, strconv.FormatInt(t.Unix(), 10))
		}
	}
	return sdk.Accept, v.State().Set(key, strings.Join(text, " "))
}

// rateKey is where the times of the sender's posts are, and how many are of use.
func (v *view) rateKey() (key string, keep int) {
	for _, w := range windows {
		keep = max(keep, v.List.Int(w.setting))
	}
	if keep == 0 || len(v.senders) == 0 {
		return "", 0
	}
	s, _, ok := v.member()
	if !ok {
		s = v.senders[0]
	}
	return stateKey("rate", s.Address), keep
}

// posted returns when the sender posted lately, the oldest first.
func (v *view) posted(ctx context.Context) ([]time.Time, error) {
	key, keep := v.rateKey()
	if keep == 0 {
		return nil, nil
	}
	text, _, err := v.State().Get(ctx, key)
	if err != nil {
		return nil, err
	}
	var out []time.Time
	for _, word := range strings.Fields(text) {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			out = append(out, time.Unix(n, 0))
		}
	}
	return out, nil
}

// stateKey names what is remembered of an address. One that is too long for a key is
// there by its digest.
func stateKey(what, addr string) string {
	key := what + " " + message.AddressKey(addr)
	if sdk.CheckStateKey(key) == nil {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return what + " sha256:" + hex.EncodeToString(sum[:])
}
