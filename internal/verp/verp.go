// Package verp makes the addresses that bounces come back to, and reads them. Each says
// for whom a copy was, and proves that this site sent it: without the key nobody can make
// one, and so nobody can make another's mail seem to bounce.
//
// The detail of such an address, what stands between "dev-bounces+" and "@", has one of
// these forms. A tag is the day on which it was made and a keyed hash (HMAC-SHA256, cut
// short), in base32 of lower case, because relays may fold the case of a local part.
//
//	TAG+user=domain   one recipient; or, where the MTA added the part behind TAG (XVERP),
//	                  one batch of copies, whose tag any of its recipients could use
//	TAG               a batch, for its own sender
//	TOKEN             one recipient whose address does not fit in 64 octets (RFC 5321
//	                  4.5.3.1.1), or would need quotes or UTF-8: a hash of it, and a tag
//	PROBE             a token that the store knows; see [ProbeLen]
//	user=domain       without a key: anybody could have made it
//
// It is pure: no clock, no state but the key.
package verp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
)

// Lengths of the parts of a detail, in characters of base32.
const (
	dayLen   = 3  // 15 bits: it comes round again after 89 years
	macLen   = 9  // 45 bits, which nobody can try out by sending mail
	hashLen  = 12 // 60 bits: two members with the same one are not to be expected
	tagLen   = dayLen + macLen
	tokenLen = hashLen + tagLen

	// ProbeLen is the length of a probe's token: 80 random bits in base32. Its length
	// alone tells it from the other forms.
	ProbeLen = 16
)

// Window is for how long after it was made a tag is taken for genuine. MTAs give up after
// five days; some need longer to say so.
const Window = 21 * 24 * time.Hour

// Key is the key of one list, 32 octets. It is handed to those who send the list's mail,
// and opens nothing of any other list.
type Key [sha256.Size]byte

// Derive makes the key of a list out of the site's secret.
func Derive(secret []byte, list address.Address) Key {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("mlist verp\x00" + list.Key()))
	var k Key
	m.Sum(k[:0])
	return k
}

// String returns the key in hexadecimal digits, as it stands in an outgoing entry.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// ParseKey is the reverse of String.
func ParseKey(s string) (Key, error) {
	var k Key
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(k) {
		return k, errors.New("key of return paths: want 64 hexadecimal digits")
	}
	copy(k[:], b)
	return k, nil
}

// kinds of hash: one cannot stand for another.
const (
	kindRecipient = 'r'
	kindBatch     = 'b'
	kindHash      = 'h'
	kindToken     = 't'
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Encoder makes return paths of one list on one day. It is for one goroutine.
type Encoder struct {
	mac    hash.Hash
	prefix string // dev-bounces+
	plain  string // dev-bounces@lists.example.org
	domain string // @lists.example.org
	day    string
	batch  string
}

// NewEncoder returns an encoder for the copies that are sent now.
func NewEncoder(k Key, list address.Address, now time.Time) *Encoder {
	bounces := address.Sub(list, address.RoleBounces)
	e := &Encoder{
		mac:    hmac.New(sha256.New, k[:]),
		prefix: bounces.Local + "+",
		plain:  bounces.String(),
		domain: "@" + bounces.Domain,
		day:    dayOf(now),
	}
	e.batch = e.day + e.sum(kindBatch, macLen, e.day)
	return e
}

// Recipient returns the return path of the copy for one recipient, given as it stands in
// RCPT TO. Where the list's own name leaves no room for a token, keyed is false and the
// path is the list's plain bounce address.
func (e *Encoder) Recipient(rcpt string) (path string, keyed bool) {
	local, domain, name, readable := split(rcpt)
	if readable && len(e.prefix)+tagLen+1+len(local)+1+len(domain) <= address.MaxLocal {
		return e.prefix + e.day + e.sum(kindRecipient, macLen, e.day, name) + "+" + local + "=" + domain + e.domain, true
	}
	if len(e.prefix)+tokenLen > address.MaxLocal {
		return e.plain, false
	}
	hash := e.sum(kindHash, hashLen, name)
	return e.prefix + hash + e.day + e.sum(kindToken, macLen, e.day, hash) + e.domain, true
}

// Batch returns the return path for many copies of one message, to which an MTA with
// XVERP adds "+user=domain" for each. keyed is as in Recipient.
func (e *Encoder) Batch() (path string, keyed bool) {
	if len(e.prefix)+tagLen > address.MaxLocal {
		return e.plain, false
	}
	return e.prefix + e.batch + e.domain, true
}

// split takes an address apart, and gives the name under which it is hashed: the same for
// every spelling. readable tells whether it may stand in a return path as it is.
func split(rcpt string) (local, domain, name string, readable bool) {
	at := strings.LastIndexByte(rcpt, '@')
	if at <= 0 || strings.IndexByte(rcpt, '@') != at || strings.ContainsFunc(rcpt, func(r rune) bool { return r >= 0x7f || r <= ' ' || strings.ContainsRune(`()<>[]:;\,"`, r) }) {
		a, err := address.Parse(rcpt)
		if err != nil {
			return "", "", strings.ToLower(rcpt), false
		}
		return "", "", a.Key(), false
	}
	return rcpt[:at], rcpt[at+1:], strings.ToLower(rcpt), true
}

// sum is the hash of some text, cut to n characters.
func (e *Encoder) sum(kind byte, n int, parts ...string) string {
	e.mac.Reset()
	e.mac.Write([]byte{kind})
	for _, p := range parts {
		e.mac.Write([]byte{0})
		e.mac.Write([]byte(p))
	}
	var sum [sha256.Size]byte
	var text [52]byte
	encoding.Encode(text[:], e.mac.Sum(sum[:0]))
	return string(text[:n])
}

// dayOf writes the day of t in three characters.
func dayOf(t time.Time) string {
	n := uint16(dayNumber(t))
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	return string([]byte{digits[n>>10&31], digits[n>>5&31], digits[n&31]})
}

func dayNumber(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) & 0x7fff }

// age is how many days ago a day was, at now; negative if it is still to come.
func age(day string, now time.Time) int64 {
	n := int64(0)
	for i := range len(day) {
		n <<= 5
		if c := day[i]; c >= 'a' {
			n |= int64(c - 'a')
		} else {
			n |= int64(c-'2') + 26
		}
	}
	d := (dayNumber(now) - n) & 0x7fff
	if d >= 0x4000 {
		d -= 0x8000
	}
	return d
}

// Kind says what a return path proves.
type Kind int

// Kinds of return path, those that prove more first.
const (
	Probe     Kind = iota + 1 // Token is to be looked up in the store
	Recipient                 // the copy was for Address, or for one that Names fits
	Batch                     // a copy of a batch; Address is whom the MTA says it was for
	Unkeyed                   // Address, if any, is only what somebody wrote
	Plain                     // no detail at all
)

// Return is what a return path says.
type Return struct {
	Kind    Kind
	Address address.Address // zero where the path does not say it
	Token   string          // of a probe
	hash    string
	mac     *Encoder
}

// Names tells whether a path of kind Recipient was made for this address.
func (r Return) Names(a address.Address) bool {
	if r.Kind != Recipient {
		return false
	}
	if r.hash == "" {
		return r.Address.Key() == a.Key()
	}
	return r.mac.sum(kindHash, hashLen, a.Key()) == r.hash
}

// Hashed tells whether a path of kind Recipient has a hash instead of the address: Names
// finds out whose it is.
func (r Return) Hashed() bool { return r.hash != "" }

// Decode reads the detail of a bounce address of the list. What was made too long ago, or
// with another key, is Unkeyed.
func Decode(k Key, list address.Address, detail string, now time.Time) Return {
	if detail == "" {
		return Return{Kind: Plain}
	}
	e := NewEncoder(k, list, now)
	lower := strings.ToLower(detail)
	switch tag, rest, more := strings.Cut(detail, "+"); {
	case more && len(tag) == tagLen:
		a, err := address.ParseVERP(rest)
		if err != nil {
			break
		}
		day, mac := lower[:dayLen], lower[dayLen:tagLen]
		if e.genuine(kindRecipient, day, mac, now, a.Key()) {
			return Return{Kind: Recipient, Address: a}
		}
		if e.genuine(kindBatch, day, mac, now) {
			return Return{Kind: Batch, Address: a}
		}
	case !more && len(lower) == tagLen && e.genuine(kindBatch, lower[:dayLen], lower[dayLen:], now):
		return Return{Kind: Batch}
	case !more && len(lower) == ProbeLen && !strings.Contains(lower, "="):
		return Return{Kind: Probe, Token: lower}
	case !more && len(lower) == tokenLen:
		hash, day, mac := lower[:hashLen], lower[hashLen:hashLen+dayLen], lower[hashLen+dayLen:]
		if e.genuine(kindToken, day, mac, now, hash) {
			return Return{Kind: Recipient, hash: hash, mac: e}
		}
	}
	a, err := address.ParseVERP(detail)
	if err != nil {
		return Return{Kind: Unkeyed}
	}
	return Return{Kind: Unkeyed, Address: a}
}

// genuine tells whether a hash is what this site made, and not too long ago.
func (e *Encoder) genuine(kind byte, day, mac string, now time.Time, parts ...string) bool {
	if !isBase32(day) {
		return false
	}
	// A day of grace: clocks of two machines need not agree.
	if d := age(day, now); d < -1 || d > int64(Window/(24*time.Hour)) {
		return false
	}
	want := e.sum(kind, macLen, append([]string{day}, parts...)...)
	return hmac.Equal([]byte(want), []byte(mac))
}

func isBase32(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// CheckProbe refuses what is no token of a probe. Its return path is the token as the
// detail of the list's bounce address.
func CheckProbe(token string) error {
	if len(token) != ProbeLen || !isBase32(token) {
		return fmt.Errorf("probe token %q: want %d characters of base32", token, ProbeLen)
	}
	return nil
}

// ProbeToken makes a token out of random octets, 10 at least.
func ProbeToken(random []byte) string { return encoding.EncodeToString(random)[:ProbeLen] }
