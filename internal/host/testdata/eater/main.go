// Command eater is a plugin that eats memory when a post tells it to: all at once, or a
// little that it never gives back.
package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/mlist/mlist/sdk"
)

type wild struct{}

func (wild) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	switch p.Header.Get("Subject") {
	case "leak":
		leaks.Lock()
		defer leaks.Unlock()
		leaked = append(leaked, eat(16))
		return sdk.Accept, nil
	case "eat":
		return sdk.Verdict{}, fmt.Errorf("ate %d MiB", len(eat(1<<10)))
	}
	return sdk.Accept, nil
}

var (
	leaks  sync.Mutex
	leaked [][][]byte
)

// eat takes so many MiB of memory, and uses every page.
func eat(n int) [][]byte {
	var eaten [][]byte
	for range n {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		eaten = append(eaten, b)
	}
	return eaten
}

// mark leaves a trace, as the stage of that name of the tests' good plugin does.
type mark struct{}

func (mark) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Header.Append("X-Stage", "a")
	return sdk.Accept, nil
}

func main() {
	sdk.Serve("eater", "1.0", sdk.Stage{Name: "wild", Handler: wild{}}, sdk.Stage{Name: "a", Handler: mark{}})
}
