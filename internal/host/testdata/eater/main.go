// Command eater is a plugin that eats memory when a post tells it to.
package main

import (
	"context"
	"fmt"

	"github.com/mlist/mlist/sdk"
)

type wild struct{}

func (wild) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if p.Header.Get("Subject") != "eat" {
		return sdk.Accept, nil
	}
	var eaten [][]byte
	for range 1 << 10 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		eaten = append(eaten, b)
	}
	return sdk.Verdict{}, fmt.Errorf("ate %d MiB", len(eaten))
}

func main() { sdk.Serve("eater", "1.0", sdk.Stage{Name: "wild", Handler: wild{}}) }
