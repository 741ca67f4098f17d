package mailauth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/sdk/message"
)

// signature is a DKIM-Signature, an ARC-Message-Signature or an ARC-Seal.
type signature struct {
	field    message.Field
	tags     tags
	domain   string // lower case
	selector string
	// identityDomain is what stands after the @ of i= of a DKIM-Signature.
	identityDomain string
	ed25519, sha1  bool
	header, body   Canon
	limit          int64    // l=; -1 is all
	fields         []string // h=
	bodyHash, sig  []byte
	hash           *BodyHash
}

func (s *signature) hashName() string {
	if s.sha1 {
		return "sha1"
	}
	return "sha256"
}

// value is what stands after the colon of a field.
func value(f message.Field) string {
	_, v, _ := strings.Cut(string(f.Raw), ":")
	return v
}

// parseDKIM reads a DKIM-Signature. Of one that is no good, domain and selector are set as
// far as they can be read.
func parseDKIM(f message.Field) (*signature, error) {
	s := &signature{field: f, limit: -1}
	var err error
	if s.tags, err = parseTags(value(f)); err != nil {
		s.guess()
		return s, err
	}
	s.name()
	if err := s.tags.has("v", "a", "b", "bh", "d", "h", "s"); err != nil {
		return s, err
	}
	if s.tags["v"] != "1" {
		return s, fmt.Errorf("version %.20q", s.tags["v"])
	}
	if err := s.common(); err != nil {
		return s, err
	}
	if err := s.message(); err != nil {
		return s, err
	}
	// RFC 6376 5.4: who does not sign From signs nothing.
	if !containsFold(s.fields, "from") {
		return s, errors.New("the field From is not signed")
	}
	if q, ok := s.tags["q"]; ok && !containsFold(s.tags.list("q"), "dns/txt") {
		return s, fmt.Errorf("keys by method %.40q", q)
	}
	return s, s.identity()
}

// guess finds domain and selector in a list that is none, to name the signature by.
func (s *signature) guess() {
	for spec := range strings.SplitSeq(value(s.field), ";") {
		name, v, _ := strings.Cut(spec, "=")
		switch trim(name) {
		case "d":
			s.domain = lower(trim(v))
		case "s":
			s.selector = trim(v)
		}
	}
}

func (s *signature) name() {
	s.domain, s.selector = lower(s.tags["d"]), toASCII(s.tags["s"])
}

// common reads what all three kinds of signature have.
func (s *signature) common() error {
	switch alg := s.tags["a"]; alg {
	case "rsa-sha256":
	case "ed25519-sha256":
		s.ed25519 = true
	case "rsa-sha1":
		// RFC 8301 3.1: a verifier must not take it for valid.
		s.sha1 = true
		return errors.New("rsa-sha1 is no longer trusted")
	default:
		return fmt.Errorf("algorithm %.40q", alg)
	}
	if !isDomain(s.domain, 1) || !isDomain(s.selector, 1) {
		return fmt.Errorf("d=%.80q s=%.80q cannot be looked up", s.tags["d"], s.tags["s"])
	}
	var err error
	if s.sig, err = s.tags.base64("b"); err != nil {
		return err
	}
	if len(s.sig) == 0 {
		return errors.New("tag b is empty")
	}
	_, _, err = s.tags.number("t")
	return err
}

// message reads what DKIM-Signature and ARC-Message-Signature have: canonicalization,
// fields, body hash.
func (s *signature) message() error {
	if c, ok := s.tags["c"]; ok {
		header, body, _ := strings.Cut(c, "/")
		var hok, bok bool
		s.header, hok = parseCanon(header)
		if s.body, bok = parseCanon(body); body == "" {
			bok = !strings.Contains(c, "/") // "relaxed" alone leaves the body simple
		}
		if !hok || !bok {
			return fmt.Errorf("canonicalization %.40q", c)
		}
	}
	var err error
	if s.bodyHash, err = s.tags.base64("bh"); err != nil {
		return err
	}
	if n, ok, err := s.tags.number("l"); err != nil {
		return err
	} else if ok {
		s.limit = n
	}
	if s.tags["h"] != "" {
		s.fields = s.tags.list("h")
	}
	for _, name := range s.fields {
		// An empty name is none of RFC 6376's, but ARC's test suite has it pass; it names nothing.
		if strings.ContainsAny(name, " \t\r\n;") {
			return fmt.Errorf("h=%.80q", s.tags["h"])
		}
	}
	if len(s.fields) > message.MaxFields {
		return fmt.Errorf("h= names %d fields", len(s.fields))
	}
	return nil
}

func parseCanon(word string) (Canon, bool) {
	switch strings.ToLower(word) {
	case "simple":
		return Simple, true
	case "relaxed":
		return Relaxed, true
	}
	return Simple, false
}

// identity checks i=: the signing domain or one below it.
func (s *signature) identity() error {
	id, ok := s.tags["i"]
	if !ok {
		return nil
	}
	id, ok = unquote(id)
	if !ok {
		return fmt.Errorf("i=%.80q is no quoted-printable", s.tags["i"])
	}
	at := strings.LastIndexByte(id, '@')
	if at < 0 {
		return fmt.Errorf("i=%.80q has no @", id)
	}
	s.identityDomain = lower(id[at+1:])
	if !within(s.identityDomain, s.domain) {
		return fmt.Errorf("i=%.80q is not within %s", id, s.domain)
	}
	return nil
}

// expired tells whether x= has passed; x= before t= is an error (RFC 6376 3.5).
func (s *signature) expired(now time.Time) error {
	t, _, err := s.tags.number("t")
	if err != nil {
		return err
	}
	x, ok, err := s.tags.number("x")
	switch {
	case err != nil || !ok:
		return err
	case x <= t:
		return errors.New("it expires before it was made")
	case now.Unix() > x:
		return fmt.Errorf("expired on %s", time.Unix(min(x, 1<<40), 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// headerHash is the hash of the signed fields and of the signature's own.
func (s *signature) headerHash(h *fieldIndex) []byte {
	var b strings.Builder
	h.selected(s.fields, string(s.field.Raw), func(raw string) { b.WriteString(s.header.header(raw)) })
	b.WriteString(strings.TrimSuffix(s.header.header(withoutB(string(s.field.Raw))), "\r\n"))
	return sum256(b.String())
}

// withoutB takes the value of the tag b out of a field.
func withoutB(raw string) string {
	colon := strings.IndexByte(raw, ':') + 1
	end := len(strings.TrimRight(raw, "\r\n"))
	for pos := colon; pos < end; {
		next := strings.IndexByte(raw[pos:end], ';')
		if next < 0 {
			next = end
		} else {
			next += pos
		}
		if eq := strings.IndexByte(raw[pos:next], '='); eq >= 0 && trim(raw[pos:pos+eq]) == "b" {
			return raw[:pos+eq+1] + raw[next:]
		}
		pos = next + 1
	}
	return raw
}

// fieldIndex finds fields by name from the bottom up (RFC 6376 5.4.2).
type fieldIndex struct {
	byName map[string][]string // in order, raw
}

func indexFields(h *message.Header) *fieldIndex {
	x := &fieldIndex{byName: map[string][]string{}}
	for f := range h.Fields() {
		name := strings.ToLower(f.Name)
		x.byName[name] = append(x.byName[name], string(f.Raw))
	}
	return x
}

// selected yields the fields that h= names, each mention the next one up; what is not
// there is nothing. The signature itself was not there when it was made.
func (x *fieldIndex) selected(names []string, itself string, yield func(raw string)) {
	used := map[string]int{}
	for _, name := range names {
		name = strings.ToLower(name)
		have := x.byName[name]
		if n := len(have) - 1 - used[name]; n >= 0 && have[n] == itself {
			used[name]++
		}
		if n := len(have) - 1 - used[name]; n >= 0 {
			used[name]++
			yield(have[n])
		}
	}
}

func (s *signature) bodyMatches(sum []byte) error {
	if s.limit > s.hash.total {
		return fmt.Errorf("l=%d, and the body has %d octets", s.limit, s.hash.total)
	}
	if !bytes.Equal(sum, s.bodyHash) {
		return errBodyHash
	}
	return nil
}

var (
	errBodyHash  = errors.New("the body was changed")
	errSignature = errors.New("the signed header fields were changed")
)

func containsFold(list []string, word string) bool {
	for _, l := range list {
		if strings.EqualFold(l, word) {
			return true
		}
	}
	return false
}
