// Package digest has posts kept for digests, and gives digests their form.
//
// An issue comes from mlist as a multipart/digest of the posts, whole, in the order in which
// they are to be read. For readers of MIME digests a masthead and a table of contents are put
// around it, and the posts lose the header fields that no reader needs; their bodies keep
// every octet. For readers of plain text it becomes one text (RFC 1153), for those of
// summaries a list of what there is.
package digest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Stages returns the stage that this package fills.
func Stages() []sdk.Stage {
	return []sdk.Stage{{
		Name:    "digest",
		Help:    "has the post kept for the next digest; gives a digest its form, and its readers",
		Body:    true,
		Keep:    true,
		Digests: true,
		Handler: &stage{Config{
			MIMEHeaders: []string{"Message", "Date", "From", "To", "Cc", "Subject", "Message-ID", "Keywords", "In-Reply-To", "References", "Content-Type",
				"MIME-Version", "Content-Transfer-Encoding", "Precedence", "Reply-To", "List-Post"},
			PlainHeaders: []string{"Message", "Date", "From", "To", "Cc", "Subject", "Message-ID", "Keywords", "Content-Type"},
		}},
	}}
}

// Config is the table [plugin.digest].
type Config struct {
	MIMEHeaders  []string `json:"mime_digest_keep_headers" help:"fields of posts that MIME digests show; those of MIME always stay"`
	PlainHeaders []string `json:"plain_digest_keep_headers" help:"fields of posts that plain digests show, in this order, which is RFC 1153's; Message is the number in the digest, Content-Type is said of text that is not ASCII"`
}

// Validate refuses what is no name of a field.
func (c *Config) Validate() error {
	for _, names := range [][]string{c.MIMEHeaders, c.PlainHeaders} {
		for _, name := range names {
			if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
				return fmt.Errorf("%q is no name of a header field", name)
			}
		}
	}
	return nil
}

type stage struct{ config Config }

// Config implements sdk.Configurer.
func (s *stage) Config() any { return &s.config }

// Handle implements sdk.Handler.
func (s *stage) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if !p.IsDigest() {
		if !p.List.Bool("digests_enabled") {
			return sdk.Accept, nil
		}
		return sdk.Accept, p.Keep(sdk.KeepDigest)
	}
	form, ok := forms[p.Notes["digest.form"]]
	if !ok {
		return sdk.Verdict{}, fmt.Errorf("%q is no form of a digest", p.Notes["digest.form"])
	}
	d, err := read(p)
	if err != nil {
		return sdk.Verdict{}, fmt.Errorf("read the digest: %w", err)
	}
	d.config = &s.config
	if err := form.compose(d); err != nil {
		return sdk.Verdict{}, fmt.Errorf("compose the digest: %w", err)
	}
	p.Recipients.Select([]string{"member"}, []string{form.mode}, []string{"enabled"})
	return sdk.Accept, nil
}

// forms are what a digest can become, and the delivery mode of those who get it.
var forms = map[string]struct {
	mode    string
	compose func(d *digest) error
}{
	"mime":    {"mime_digests", (*digest).mime},
	"plain":   {"plaintext_digests", (*digest).plain},
	"summary": {"summary_digests", (*digest).summary},
}

// digest is one that is being composed.
type digest struct {
	*sdk.Post
	config *Config
	name   string // what people call it: "Dev Digest, Vol 2, Issue 3"
	posts  []post
}

// post is one of its posts.
type post struct {
	part   *message.Part // the message/rfc822
	header *message.Header
	block  int64 // octets of the header block
	body   int64 // where the post's body starts in the digest's
}

var errForm = errors.New("it is no multipart/digest of messages")

// read finds the posts.
func read(p *sdk.Post) (*digest, error) {
	root, _, err := message.ParseStructure(p.Header, p.Body)
	if err != nil {
		return nil, err
	}
	d := &digest{Post: p}
	d.name = d.say("digest_name", "volume", p.Notes["digest.volume"], "issue", p.Notes["digest.issue"])
	for _, part := range root.Parts {
		if root.Type != "multipart/digest" || !part.IsMessage() {
			return nil, errForm
		}
		item := post{part: part, header: message.ParseHeader(nil), body: part.Start}
		block, at, err := message.Split(section(p.Body, part), part.End-part.Start)
		if err != nil && !errors.Is(err, message.ErrHeaderTooLong) { // then it is shown as it is
			return nil, err
		}
		if err == nil {
			item.header, item.block, item.body = message.ParseHeader(block), int64(len(block)), part.Start+at
		}
		d.posts = append(d.posts, item)
	}
	if len(d.posts) == 0 {
		return nil, errForm
	}
	return d, nil
}
