// Package archive has posts kept for the list's archive, where the list and the author want
// that, and tells readers where they will be found.
package archive

import (
	"context"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Stages returns the stage that this package fills.
func Stages() []sdk.Stage {
	return []sdk.Stage{{
		Name:    "archive",
		Help:    "has the post kept for the archive, as it stands here; adds Message-ID-Hash, Archived-At and List-Archive",
		Keep:    true,
		Handler: stage{},
	}}
}

type stage struct{}

// Handle implements sdk.Handler.
func (stage) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	hash := message.IDHash(p.Header.ID())
	if hash != "" {
		p.Header.Replace("Message-ID-Hash", hash)
	}
	if !wanted(p) {
		return sdk.Accept, nil
	}
	if url := strings.TrimSuffix(p.List.String("archive_url"), "/"); url != "" {
		p.Header.Replace("List-Archive", "<"+url+"/>")
		if hash != "" {
			p.Header.Replace("Archived-At", "<"+Permalink(url, hash)+">")
		}
	}
	return sdk.Accept, p.Keep(sdk.KeepArchive)
}

// Permalink is where a web archive at url has the post of a hash: the same place as in
// Mailman's archives.
func Permalink(url, hash string) string {
	return strings.TrimSuffix(url, "/") + "/message/" + hash + "/"
}

// wanted tells whether list and author want the post kept. X-No-Archive counts whatever it
// says; of the other two, the field names a choice, before parameters (RFC 5536 3.2.2: "Archive: no; filename=x").
func wanted(p *sdk.Post) bool {
	if p.List.String("archive_policy") == "never" || p.Header.Has("X-No-Archive") {
		return false
	}
	for _, name := range []string{"X-Archive", "Archive"} {
		for _, value := range p.Header.Values(name) {
			if message.Word(value) == "no" {
				return false
			}
		}
	}
	return true
}
