// Package oneclick makes the tokens of one-click unsubscription (RFC 8058), and reads them.
// Each is for one address on one list, and proves that this site sent a copy to that
// address: without the list's key nobody can make one, and so nobody can take another off a
// list.
//
// A token is the URL-safe base64 of 16 octets of HMAC-SHA256 over a day and the address,
// and of these two, sealed with AES-256 in counter mode that starts at the hash (the
// construction of RFC 5297: the same token for the same day and address, and no nonce that
// could be used twice). So it has the address within it, and nothing is kept for it: who
// reads one looks up one membership. And a web server's log that has tokens names nobody.
//
// It is pure: no clock, no state but the key.
package oneclick

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
)

// Window is for how long after it was made a token is taken. Mail is kept for years, and
// whom it bothers should get rid of it: the law of some countries says 30 or 60 days. What
// a token that got about can do is little.
const Window = 365 * 24 * time.Hour

// Key is the key of one list, 32 octets. It is handed to those who send the list's mail, and
// opens nothing of any other list.
type Key [sha256.Size]byte

// Derive makes the key of a list out of the site's secret.
func Derive(secret []byte, list address.Address) Key {
	return derive(secret, "mlist one-click\x00"+list.Key())
}

func derive(secret []byte, purpose string) (k Key) {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(purpose))
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
		return k, errors.New("key of one-click unsubscription: want 64 hexadecimal digits")
	}
	copy(k[:], b)
	return k, nil
}

const (
	macLen = 16
	dayLen = 2 // of days since 1970: it ends in 2149
)

var encoding = base64.RawURLEncoding.Strict()

// MaxLen is how long a token can be, in characters.
var MaxLen = encoding.EncodedLen(macLen + dayLen + address.MaxAddress)

// Sealer makes tokens of one list on one day. It is for one goroutine.
type Sealer struct {
	mac   hash.Hash
	block cipher.Block
	day   [dayLen]byte
}

// NewSealer returns a sealer for the copies that are sent now.
func NewSealer(k Key, now time.Time) *Sealer {
	mac, seal := derive(k[:], "mac"), derive(k[:], "seal")
	block, err := aes.NewCipher(seal[:])
	if err != nil {
		panic(err) // 32 octets are a key of AES-256
	}
	s := &Sealer{mac: hmac.New(sha256.New, mac[:]), block: block}
	binary.BigEndian.PutUint16(s.day[:], dayOf(now))
	return s
}

func dayOf(t time.Time) uint16 { return uint16(t.Unix() / (24 * 60 * 60)) }

// Token returns the token of a recipient, given as it stands in RCPT TO.
func (s *Sealer) Token(rcpt string) string {
	out := make([]byte, macLen, macLen+dayLen+len(rcpt))
	out = append(append(out, s.day[:]...), rcpt...)
	s.sum(out)
	s.crypt(out)
	return encoding.EncodeToString(out)
}

// sum puts the hash of what follows it to the start of b.
func (s *Sealer) sum(b []byte) {
	s.mac.Reset()
	s.mac.Write(b[macLen:])
	var sum [sha256.Size]byte
	copy(b[:macLen], s.mac.Sum(sum[:0]))
}

// crypt seals what follows the hash, and opens it.
func (s *Sealer) crypt(b []byte) {
	cipher.NewCTR(s.block, b[:macLen]).XORKeyStream(b[macLen:], b[macLen:])
}

// Errors of Open.
var (
	ErrForged  = errors.New("the token was not made here for this list")
	ErrExpired = errors.New("the token is too old")
)

// Open reads a token of the list with this key: whose it is.
func Open(k Key, token string, now time.Time) (address.Address, error) {
	if len(token) > MaxLen || strings.ContainsAny(token, "\r\n") { // which the decoder skips
		return address.Address{}, ErrForged
	}
	b, err := encoding.DecodeString(token)
	if err != nil || len(b) <= macLen+dayLen {
		return address.Address{}, ErrForged
	}
	s := NewSealer(k, now)
	claimed := [macLen]byte(b)
	s.crypt(b)
	s.sum(b)
	if !hmac.Equal(claimed[:], b[:macLen]) {
		return address.Address{}, ErrForged
	}
	// A day of grace: clocks of two machines need not agree.
	if age := int64(dayOf(now)) - int64(binary.BigEndian.Uint16(b[macLen:])); age < -1 || age > int64(Window/(24*time.Hour)) {
		return address.Address{}, ErrExpired
	}
	a, err := address.Parse(string(b[macLen+dayLen:]))
	if err != nil {
		return address.Address{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return a, nil
}
