package conformance

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/wire"
)

const (
	hostname = "lists.example.org"
	list     = "dev@lists.example.org"
	hugeBody = 40 << 20
)

// sample is a message that handlers meet.
type sample struct {
	name string // goes on "a post …"
	text func(w io.Writer) error
}

func text(parts ...string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(parts, ""))
		return err
	}
}

func times(n int, before, part, after string) func(io.Writer) error {
	return func(w io.Writer) error {
		chunk := strings.Repeat(part, 1+(64<<10)/len(part))
		left := n * len(part)
		_, err := io.WriteString(w, before)
		for ; left > 0 && err == nil; left -= len(chunk) {
			_, err = io.WriteString(w, chunk[:min(left, len(chunk))])
		}
		if err == nil {
			_, err = io.WriteString(w, after)
		}
		return err
	}
}

const head = "From: Ann <ann@example.org>\r\nTo: dev@lists.example.org\r\nSubject: hello\r\n" +
	"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"

const plain = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "

const mixed = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"

// ordinary is what trials use that are not about the message.
var ordinary = sample{"like any other", text(head, "\r\nHello, all.\r\n")}

var huge = sample{"with a body of 40 MB", times(hugeBody/18, head+"\r\n", "sixteen letters.\r\n", "")}

var samples = []sample{
	ordinary,
	{"without a single octet", text("")},
	{"without a body", text(head)},
	{"with an empty body", text(head, "\r\n")},
	{"without a header", text("\r\nHello.\r\n")},
	{"with line ends of Unix", text(strings.ReplaceAll(head, "\r\n", "\n"), "\nHello.\n")},
	{"without a line end at its end", text(head, "\r\nHello")},
	{"in UTF-8", text(head, plain, "8bit\r\n\r\nGr\u00fc\u00dfe, \u65e5\u672c\u8a9e \U0001F4EC\r\n")},
	{"with octets that are not UTF-8", text(head, "X-Raw: \xff\xfe\x80\r\n", plain, "8bit\r\n\r\n\xff\xfe caf\xe9\r\n")},
	{"with a subject in Latin-1, encoded and raw", text("From: ann@example.org\r\nSubject: =?iso-8859-1?q?caf=E9?= caf\xe9 =?x?\r\n\r\nx\r\n")},
	{"in an unknown charset", text(head, "Content-Type: text/plain; charset=klingon\r\n\r\n\xe9\r\n")},
	{"with NUL octets", text(head, "X-Nul: a\x00b\r\n\r\na\x00b\r\n")},
	{"with lines that are no header field", text("Subject: x\r\nthis is no field\r\n: neither\r\nFrom: a@example.org\r\n\r\nx\r\n")},
	{"that starts with a continuation line", text(" folded from nothing\r\n", head, "\r\nx\r\n")},
	{"with bare CR", text("From: a@example.org\rSubject: x\r\r\nTo: b\r\n\r\nx\ry\r\n")},
	{"with every field twice", text(head, head, "\r\nx\r\n")},
	{"with a From that is no address", text("From: <<<>>>@,;\"\r\nSubject:\r\n\r\nx\r\n")},
	{"whose multipart never ends", text(head, mixed, "--b\r\nContent-Type: text/plain\r\n\r\nx")},
	{"whose multipart has no boundary", text(head, "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")},
	{"with parts 200 deep", text(head, nested(200))},
	{"with base64 that is none", text(head, plain, "base64\r\n\r\n!!!=!!=\r\nA\r\n")},
	{"with a line of 1 MB", times(1<<20, head+"\r\n", "x", "\r\n")},
	{"with a field of 100 KB", times(100<<10, head+"X-Long: ", "x", "\r\n\r\nx\r\n")},
	{"with 10,000 header fields", times(10_000, head, "X-Field: value\r\n", "\r\nx\r\n")},
	huge,
}

func nested(deep int) string {
	var b strings.Builder
	for i := range deep {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String() + "\r\nx\r\n"
}

// corpus makes posts of samples, in files, as mlist does.
type corpus struct {
	dir      string
	settings map[string]string
	files    int
}

// post makes a post; done takes its file away.
func (c *corpus) post(s sample) (p *wire.Post, done func(), err error) {
	c.files++
	f, err := os.OpenFile(filepath.Join(c.dir, fmt.Sprint(c.files)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		_ = f.Close()           // it was written before, and is not kept
		_ = os.Remove(f.Name()) // with the directory, in the end
	}
	p, err = c.write(f, s)
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("write a post %s: %w", s.name, err)
	}
	return p, done, nil
}

func (c *corpus) write(f *os.File, s sample) (*wire.Post, error) {
	if err := s.text(f); err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	block, offset, err := message.Split(f, size)
	if err != nil {
		return nil, err
	}
	sender := sdk.Sender{Address: "ann@example.org", Source: "from",
		Memberships: []sdk.Membership{{Role: "member", Mode: "regular", Status: "enabled"}}}
	name := fmt.Sprintf("check%d", c.files)
	return &wire.Post{Entry: name, Call: name, Number: int64(c.files), List: sdk.List{Address: list, Settings: c.settings},
		Envelope: sdk.Envelope{Sender: "ann@example.org", Recipient: list, Peer: "check", Received: time.Now()},
		Senders:  []sdk.Sender{sender}, Header: message.ParseHeader(block), Body: message.NewBody(f, offset, size-offset),
		File: f.Name(), Offset: offset, Length: size - offset, Notes: map[string]string{}}, nil
}
