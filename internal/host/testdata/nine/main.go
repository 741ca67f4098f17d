// Command nine is a plugin with nine stages, of which each adds a field: the load of
// BenchmarkRun.
package main

import (
	"context"

	"github.com/mlist/mlist/sdk"
)

type field string

func (f field) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Header.Append("X-Stage", string(f))
	return sdk.Accept, nil
}

func main() {
	var stages []sdk.Stage
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		stages = append(stages, sdk.Stage{Name: name, Body: true, Handler: field(name)})
	}
	sdk.Serve("nine", "1.0", stages...)
}
