// Package password keeps passwords as hashes that cannot be turned back, for handlers
// that are told one by mail. A hash is text, in the form
// $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$KEY that other programs know, too.
package password

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// OnceForm begins every hash of a one-time password.
const OnceForm = "once:"

// onceLen is how many characters of base32 a one-time password has: 100 bits, which nobody
// tries out, so that its hash need not be slow.
const onceLen = 20

var onceCode = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// NewOnce makes a one-time password, in groups that people can type.
func NewOnce() string {
	random := make([]byte, 13)
	rand.Read(random) // never fails
	text := onceCode.EncodeToString(random)
	return text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:onceLen]
}

// HashOnce returns the hash of a one-time password; "" for what can be none. Case, and hyphens
// and blanks between its characters, do not matter.
func HashOnce(text string) string {
	if len(text) > MaxLength {
		return ""
	}
	text = strings.NewReplacer("-", "", " ", "").Replace(strings.ToLower(text))
	if len(text) != onceLen {
		return ""
	}
	sum := sha256.Sum256([]byte("mlist one-time password\x00" + text))
	return OnceForm + hex.EncodeToString(sum[:])
}

// What a new hash costs: some 20 ms and 19 MiB. MaxLength bounds a password, in octets.
const (
	memory    = 19 << 10 // KiB
	passes    = 2
	lanes     = 1
	keySize   = 32
	MaxLength = 128
)

// A hash that says it costs more than this is none: its text may come from anywhere.
const (
	maxMemory = 64 << 10
	maxPasses = 10
	maxLanes  = 8
)

// busy bounds how many hashes are computed at once, and so the memory that strangers can
// make a handler use.
var busy = make(chan struct{}, 2)

// Hash returns the hash of a password, with a salt of its own each time.
func Hash(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("the password is empty")
	case len(text) > MaxLength:
		return "", fmt.Errorf("the password has %d octets, at most %d are allowed", len(text), MaxLength)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("the password has a control character, or is not UTF-8")
	case strings.HasPrefix(text, "$argon2"):
		return "", errors.New("that is a hash of a form or of costs that mlist does not take: want argon2id, 64 MiB and 10 passes at most")
	case text != strings.TrimSpace(text):
		return "", errors.New("the password begins or ends with a blank, which mail would lose")
	}
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	h := hash{memory: memory, passes: passes, lanes: lanes, salt: salt}
	h.key = h.derive(text, keySize)
	return h.String(), nil
}

// Check tells whether text is the password of the hash. What is no hash has none.
func Check(hashed, text string) bool {
	h, err := parse(hashed)
	if err != nil || text == "" || len(text) > MaxLength {
		return false
	}
	return subtle.ConstantTimeCompare(h.key, h.derive(text, len(h.key))) == 1
}

// IsHash tells whether text is a hash.
func IsHash(text string) bool {
	_, err := parse(text)
	return err == nil
}

type hash struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

func (h *hash) derive(text string, size int) []byte {
	busy <- struct{}{}
	defer func() { <-busy }()
	return argon2.IDKey([]byte(text), h.salt, h.passes, h.memory, h.lanes, uint32(size))
}

// String is the text form.
func (h *hash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.lanes, b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

var errNoHash = errors.New("not a hash")

func parse(text string) (*hash, error) {
	parts := strings.Split(text, "$")
	if len(text) > 256 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errNoHash
	}
	var h hash
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.lanes); err != nil {
		return nil, errNoHash
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.key) < 16 ||
		h.memory < 8 || h.memory > maxMemory || h.passes < 1 || h.passes > maxPasses || h.lanes < 1 || h.lanes > maxLanes {
		return nil, errNoHash
	}
	return &h, nil
}
