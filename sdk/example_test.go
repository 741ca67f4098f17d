package sdk_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// louder is a handler: it makes capitals of the subject. The main function of its
// program is
//
//	sdk.Serve("louder", "1.0", sdk.Stage{Name: "louder", Handler: louder{}})
type louder struct{}

func (louder) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	p.Header.Replace("Subject", strings.ToUpper(p.Header.Text("Subject")))
	return sdk.Accept, nil
}

func Example() {
	p := &sdk.Post{Header: message.ParseHeader([]byte("From: ann@example.org\nSubject: hello\n"))}
	verdict, err := louder{}.Handle(context.Background(), p)
	fmt.Println(verdict.Kind, err)
	fmt.Printf("%s", p.Header.Bytes())
	// Output:
	// accept <nil>
	// From: ann@example.org
	// Subject: HELLO
}
