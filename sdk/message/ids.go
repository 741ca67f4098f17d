package message

import (
	"crypto/sha1"
	"encoding/base32"
	"slices"
	"strings"
)

// Limits of what is read of fields with Message-IDs.
const (
	maxID  = 998 // octets: a line of RFC 5322
	maxIDs = 100
)

// IDs returns the Message-IDs that the fields of these names hold, in this order, without
// angle brackets. It reads as tolerantly as it can: what lacks brackets counts if it looks
// like one. Of more than 100 the first and the last ones are left, which tell most.
func (h *Header) IDs(names ...string) []string {
	var out []string
	for _, name := range names {
		for _, value := range h.Values(name) {
			out = append(out, parseIDs(value)...)
		}
	}
	if len(out) > maxIDs {
		out = slices.Concat(out[:1], out[len(out)-maxIDs+1:])
	}
	return out
}

func parseIDs(value string) []string {
	var out []string
	add := func(id string) {
		id = strings.Join(strings.Fields(id), "") // a fold within an id is none of its own
		if id != "" && len(id) <= maxID && !strings.ContainsAny(id, "<>") {
			out = append(out, id)
		}
	}
	for rest := value; ; {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		id, after, ok := strings.Cut(after, ">")
		if !ok {
			break
		}
		add(id)
		rest = after
	}
	if len(out) == 0 {
		for word := range strings.FieldsSeq(value) {
			if strings.ContainsRune(word, '@') {
				add(strings.Trim(word, "<>,;"))
			}
		}
	}
	return out
}

// ID is the message's own Message-ID, without angle brackets; "" if it has none.
func (h *Header) ID() string {
	if ids := parseIDs(h.Get("Message-ID")); len(ids) > 0 {
		return ids[0]
	}
	id := strings.Join(strings.Fields(brackets.Replace(h.Get("Message-ID"))), "")
	return id[:min(len(id), maxID)]
}

var brackets = strings.NewReplacer("<", "", ">", "")

// IDHash is what permalinks name a message by: the SHA-1 of its Message-ID without angle
// brackets, in base 32, as Mailman's archives have it. "" stays "".
func IDHash(id string) string {
	if id == "" {
		return ""
	}
	sum := sha1.Sum([]byte(id))
	return base32.StdEncoding.EncodeToString(sum[:])
}
