// Standard is the plugin that comes with mlist: it serves every stage of the default
// pipeline in one process, so that a post costs one call.
//
// To replace a stage, install a plugin that offers a stage of another name and put
// that name into the configuration's stages instead.
package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/plugins/archive"
	"github.com/mlist/mlist/plugins/authenticate"
	"github.com/mlist/mlist/plugins/autorespond"
	"github.com/mlist/mlist/plugins/checks"
	"github.com/mlist/mlist/plugins/decorate"
	"github.com/mlist/mlist/plugins/digest"
	"github.com/mlist/mlist/plugins/dmarc"
	"github.com/mlist/mlist/plugins/headers"
	"github.com/mlist/mlist/plugins/mime"
	"github.com/mlist/mlist/plugins/recipients"
	"github.com/mlist/mlist/sdk"
)

// version is set when a release is built: -ldflags "-X main.version=…".
var version = "dev"

func main() {
	// One DNS for all stages: they ask for the same names.
	dns, err := mailauth.FromEnvironment()
	if err != nil {
		fmt.Fprintf(os.Stderr, "standard: %v\n", err)
		os.Exit(1)
	}
	sdk.Serve("standard", version, stages(dns)...)
}

// order is that of the default pipeline, as far as it is served here.
var order = []string{"loop", "authenticate", "posting", "limits", "mime", "topics", "recipients",
	"cleanse", "subject", "reply-to", "list-headers", "archive", "digest", "footer", "dmarc", "acknowledge", "sign"}

// stages are all stages, in their order.
func stages(dns mailauth.Resolver) []sdk.Stage {
	all := slices.Concat(checks.Stages(), mime.Stages(), headers.Stages(), archive.Stages(), digest.Stages(), decorate.Stages(), recipients.Stages(), autorespond.Stages(),
		[]sdk.Stage{authenticate.Authenticate(dns), dmarc.Stage(dns), authenticate.Sign()})
	place := func(s sdk.Stage) int {
		if i := slices.Index(order, s.Name); i >= 0 {
			return i
		}
		return len(order) // a stage that no default pipeline has
	}
	slices.SortStableFunc(all, func(a, b sdk.Stage) int { return place(a) - place(b) })
	return all
}
