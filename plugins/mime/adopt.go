package mime

import (
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// contentFields are what describes a content, and goes with it.
var contentFields = []string{"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Description",
	"Content-Language", "Content-Location", "Content-Base", "Content-Duration", "Content-Features", "Content-Alternative", "Content-MD5"}

// Lengths, in octets, of what a message's header takes over as it is: a longer word
// would be encoded there, and no longer be what it is.
const (
	maxWord  = 800
	maxValue = 4096
)

// sayable tells whether a value can be written anew without being encoded.
func sayable(value string) bool {
	if len(value) > maxValue {
		return false
	}
	for i := range len(value) {
		if value[i] >= 0x7f || value[i] < ' ' && value[i] != '\t' {
			return false
		}
	}
	for word := range strings.FieldsSeq(value) {
		if len(word) > maxWord {
			return false
		}
	}
	return true
}

// adoptable tells whether a message's header can take over what a part's says of its
// content, as far as it must.
func adoptable(h *message.Header) bool {
	return sayable(h.Get("Content-Type")) && sayable(h.Get("Content-Transfer-Encoding"))
}

// adopt has a message's header describe what stands for it, and tells whether that
// changed anything.
func adopt(h *message.Header, n *node) bool {
	e := n.end()
	if e == n && e.text == nil {
		return false
	}
	if e != n {
		for _, name := range contentFields {
			if v := e.part.Header.Get(name); v != "" && sayable(v) {
				h.Replace(name, v)
			} else {
				h.Remove(name)
			}
		}
	}
	if e.text != nil {
		h.Remove("Content-MD5")
		h.Replace("Content-Type", "text/plain; charset=utf-8")
		h.Replace("Content-Transfer-Encoding", encoding(e.text))
	}
	if !h.Has("MIME-Version") {
		h.Append("MIME-Version", "1.0")
	}
	return true
}
