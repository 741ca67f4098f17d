// Standard is the plugin that comes with mlist: it serves every stage of the default
// pipeline in one process, so that a post costs one call.
//
// To replace a stage, install a plugin that offers a stage of another name and put
// that name into the configuration's stages instead.
package main

import (
	"slices"

	"github.com/mlist/mlist/plugins/archive"
	"github.com/mlist/mlist/plugins/checks"
	"github.com/mlist/mlist/plugins/decorate"
	"github.com/mlist/mlist/plugins/headers"
	"github.com/mlist/mlist/plugins/mime"
	"github.com/mlist/mlist/plugins/recipients"
	"github.com/mlist/mlist/sdk"
)

// version is set when a release is built: -ldflags "-X main.version=…".
var version = "dev"

func main() { sdk.Serve("standard", version, stages()...) }

// stages are all stages, in the order of the default pipeline.
func stages() []sdk.Stage {
	return slices.Concat(checks.Stages(), mime.Stages(), headers.Stages(), archive.Stages(), decorate.Stages(), recipients.Stages())
}
