// Command echo is a handler that follows each post by another, and counts.
package main

import (
	"context"
	"errors"

	"github.com/mlist/mlist/sdk"
)

func main() {
	sdk.Serve("echo", "1.0", sdk.Stage{Name: "echo", Help: "follows posts", State: true, Submit: true, Handler: echo{}})
}

type echo struct{}

// Handle implements sdk.Handler.
func (echo) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Count("echoes", 1)
	return sdk.Accept, errors.Join(p.State().Add("posts", 1), p.Submit(sdk.Submission{Post: true, Approved: true,
		Message: []byte("From: robot@lists.test\nTo: dev@lists.test\nSubject: echo of " + p.Header.Text("Subject") + "\n\nAs was said.\n")}))
}
