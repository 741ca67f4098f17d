// Shout is an example of a handler: it holds posts whose subject shouts. The page
// docs/handlers.md explains it.
package main

import (
	"context"
	"fmt"
	"unicode"

	"github.com/mlist/mlist/sdk"
)

func main() {
	sdk.Serve("shout", "1.0", sdk.Stage{Name: "shout", Help: "holds posts that shout", Handler: &shout{}})
}

type shout struct{ config shoutConfig }

// shoutConfig is [plugin.shout].
type shoutConfig struct {
	Most int `json:"most" help:"how many per cent of a subject's letters may be capitals"`
}

// Validate is called when the configuration has been read.
func (c *shoutConfig) Validate() error {
	if c.Most < 1 || c.Most > 100 {
		return fmt.Errorf("most: %d is not within 1 and 100", c.Most)
	}
	return nil
}

// Config returns the defaults, and is where the configuration is put.
func (s *shout) Config() any {
	s.config = shoutConfig{Most: 70}
	return &s.config
}

// Handle decides about one post.
func (s *shout) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	capitals := share(p.Header.Text("Subject"))
	if capitals > s.config.Most && !p.Approved {
		return sdk.Hold("shouting", fmt.Sprintf("%d%% of the subject's letters are capitals.", capitals)), nil
	}
	p.Header.Append("X-Volume", fmt.Sprint(capitals))
	return sdk.Accept, nil
}

// share is how many per cent of a text's letters are capitals.
func share(text string) int {
	letters, capitals := 0, 0
	for _, r := range text {
		if unicode.IsLetter(r) {
			letters++
		}
		if unicode.IsUpper(r) {
			capitals++
		}
	}
	return 100 * capitals / max(letters, 1)
}
