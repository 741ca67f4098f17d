// Package mime filters what posts consist of: parts of types and names that a list does
// not want are taken out, alternatives become the first of them, HTML becomes text.
//
// It works by splices: what stays in a post stays octet for octet. What is signed or
// encrypted is never altered inside and never taken out: where the filter would, a
// setting says what happens to the whole post.
package mime

import (
	"context"
	"fmt"

	"github.com/mlist/mlist/sdk"
)

// Stages returns the stage that this package fills.
func Stages() []sdk.Stage {
	return []sdk.Stage{{
		Name:    "mime",
		Help:    "takes out parts of unwanted types and names, collapses alternatives, makes HTML text",
		Body:    true,
		AtSMTP:  true,
		Handler: Handler{},
	}}
}

// Handler filters posts by the list's settings. It notes what it has taken out in
// "mime.removed", and in "mime.kept" what it should have changed and did not.
type Handler struct{}

// Handle implements sdk.Handler.
func (Handler) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if !p.List.Bool("filter_content") {
		return sdk.Accept, nil
	}
	f := newFilter(p)
	v, err := f.run()
	if err != nil {
		return sdk.Verdict{}, fmt.Errorf("filter the content of %s: %w", p.Entry, err)
	}
	return v, nil
}

// run filters the post: first in a tree, so that a post which is stopped, or left as it
// is, has no edits.
func (f *filter) run() (sdk.Verdict, error) {
	root, err := f.read()
	if err != nil {
		return sdk.Verdict{}, err
	}
	if f.unseen != "" && !f.post.Approved {
		return sdk.Hold("mime-limits", "The message cannot be looked into: "+f.unseen+"."), nil
	}
	if why := f.refuses(root); why != "" && !root.sealed {
		return f.stop(f.action, "filtered-type", why), nil
	}
	f.choose(root)
	if v := f.sealedVerdict(); v != sdk.Accept {
		return v, nil
	}
	if root.gone {
		return f.stop(f.action, "filtered-empty", "After content filtering, the message was empty."), nil
	}
	if err := f.shape(root); err != nil {
		return sdk.Verdict{}, err
	}
	f.write(root)
	if len(f.edits.all) > maxEdits {
		if f.post.Approved {
			f.note("kept", "too many parts")
			return sdk.Accept, nil
		}
		return sdk.Hold("mime-limits", "The message has too many parts that the filter would change."), nil
	}
	return sdk.Accept, f.apply(root)
}

// stop is the verdict of an action on a post. One that a moderator has approved is not
// asked about twice: it passes as it is.
func (f *filter) stop(action, code, why string) sdk.Verdict {
	if f.post.Approved {
		f.note("kept", "approved")
		return sdk.Accept
	}
	switch action {
	case "discard":
		return sdk.Discard(code, why)
	case "reject":
		return sdk.Reject(code, why)
	}
	// forward and preserve: where Mailman mails the post to the owners, or puts it into a
	// queue of its own, it waits with the held ones, and the owners are told.
	return sdk.Hold(code, why)
}

// sealedVerdict decides about a post in which the filter would have touched what is
// signed or encrypted.
func (f *filter) sealedVerdict() sdk.Verdict {
	if f.sealedHit == "" {
		return sdk.Accept
	}
	f.note("kept", "signed or encrypted: "+f.sealedHit)
	if f.signedAction == "pass" || f.post.Approved {
		return sdk.Accept
	}
	return f.stop(f.signedAction, "filtered-signed", "The filter would change what is signed or encrypted: "+f.sealedHit)
}

// note leaves a note, which must not grow without bound.
func (f *filter) note(word, text string) {
	const most = 1000
	if f.post.Notes == nil {
		f.post.Notes = make(map[string]string)
	}
	if len(text) > most {
		text = text[:most] + "…"
	}
	f.post.Notes["mime."+word] = text
}
