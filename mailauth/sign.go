package mailauth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/sdk/message"
)

// Key signs for a domain. It may be used by many goroutines at once.
type Key struct {
	Domain, Selector string
	signer           crypto.Signer
}

// NewKey reads a private key, PEM in PKCS #8 or PKCS #1: RSA of at least 1024 bits or Ed25519.
func NewKey(domain, selector string, text []byte) (*Key, error) {
	k := &Key{Domain: lower(domain), Selector: toASCII(selector)}
	if !isDomain(k.Domain, 1) {
		return nil, fmt.Errorf("%.100q is no domain", domain)
	}
	if !isDomain(k.Selector, 1) {
		return nil, fmt.Errorf("%.100q is no selector", selector)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no private key in PEM")
	}
	var parsed any
	var err error
	if block.Type == "RSA PRIVATE KEY" {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	} else {
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("no private key: %w", err)
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits; want 2048", bits)
		}
		k.signer = key
	case ed25519.PrivateKey:
		k.signer = key
	default:
		return nil, errors.New("neither an RSA nor an Ed25519 key")
	}
	return k, nil
}

// Generate makes a private key, PEM in PKCS #8: "rsa" has 2048 bits (RFC 8301 3.2), as more
// do not fit into one string of a TXT record and some receivers stop there; or "ed25519".
func Generate(algorithm string) ([]byte, error) {
	var key any
	var err error
	switch algorithm {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("%q is no algorithm: want rsa or ed25519", algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Public is the public key.
func (k *Key) Public() crypto.PublicKey { return k.signer.Public() }

// RSA tells whether it is an RSA key: ARC's receivers know no other.
func (k *Key) RSA() bool { _, ok := k.signer.(*rsa.PrivateKey); return ok }

// Algorithm is the word for a=.
func (k *Key) Algorithm() string {
	if k.RSA() {
		return "rsa-sha256"
	}
	return "ed25519-sha256"
}

// sign signs a SHA-256 hash. Both algorithms give the same for the same.
func (k *Key) sign(hash []byte) (string, error) {
	opts := crypto.Hash(0) // RFC 8463 3: plain Ed25519, of the hash
	if k.RSA() {
		opts = crypto.SHA256
	}
	sig, err := k.signer.Sign(rand.Reader, hash, opts)
	if err != nil {
		return "", fmt.Errorf("sign for %s: %w", k.Domain, err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// oversigned are the fields that no one may add after us: each is named once more than it is
// there (RFC 6376 8.15). RFC 8058 4 wants the two of one-click unsubscription covered.
var oversigned = []string{
	"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post",
}

// alsoSigned are signed where they are there. What a relay adds or changes is in neither list.
var alsoSigned = []string{
	"Sender", "Author", "X-Original-From", "Content-Disposition", "Content-ID", "Content-Description", "Content-Language",
	"List-Help", "List-Owner", "List-Post", "List-Subscribe", "List-Archive", "Archived-At",
	"Auto-Submitted", "Precedence",
}

// maxNamed is how often one field is named in h=: what is there oftener is not mail.
const maxNamed = 20

// signedNames are the names for h=.
func signedNames(x *fieldIndex, more ...string) []string {
	var names []string
	add := func(list []string, extra int) {
		for _, name := range list {
			n := min(len(x.byName[strings.ToLower(name)]), maxNamed)
			for range n + extra {
				names = append(names, name)
			}
		}
	}
	add(oversigned, 1)
	add(alsoSigned, 0)
	add(more, 0)
	return names
}

// Sign returns the value of a DKIM-Signature field for a message with this header block and
// the body that bodyHash is of, which NewBodyHash computes: once for all keys, and for all
// copies with the same body. The field goes above all others. at is the time of signing; the
// same makes the same signature.
func (k *Key) Sign(h *message.Header, bodyHash []byte, at time.Time) (string, error) {
	x := indexFields(asSent(h))
	return k.signMessage(x, "DKIM-Signature", "v=1", signedNames(x), bodyHash, at)
}

// signMessage makes a DKIM-Signature or an ARC-Message-Signature.
func (k *Key) signMessage(x *fieldIndex, field, first string, names []string, bodyHash []byte, at time.Time) (string, error) {
	v := first + "; a=" + k.Algorithm() + "; c=relaxed/relaxed; d=" + k.Domain + "; s=" + k.Selector +
		"; t=" + strconv.FormatInt(at.Unix(), 10) + "; h=" + wrapNames(names) +
		"; bh=" + base64.StdEncoding.EncodeToString(bodyHash) + "; b="
	s := &signature{field: message.Field{Name: field, Raw: []byte(field + ": " + v)}, header: Relaxed, fields: names}
	sig, err := k.sign(s.headerHash(x))
	return v + wrapText(sig), err
}

// wrapNames joins names with colons, and leaves room to fold.
func wrapNames(names []string) string {
	var b strings.Builder
	line := 0
	for i, n := range names {
		if i > 0 {
			b.WriteByte(':')
			if line += len(n) + 1; line > 60 {
				b.WriteByte(' ')
				line = len(n)
			}
		}
		b.WriteString(n)
	}
	return b.String()
}

// wrapText leaves room to fold in base64.
func wrapText(s string) string {
	const width = 72
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width])
		b.WriteByte(' ')
		s = s[width:]
	}
	b.WriteString(s)
	return b.String()
}

// asSent is a header block as mlist sends it: a CR that ends no line is a space then, and what
// such a CR began belongs to the field above.
func asSent(h *message.Header) *message.Header {
	block := h.Bytes()
	if bytes.Count(block, crOnly) == bytes.Count(block, crlf) {
		return h
	}
	lines := bytes.ReplaceAll(bytes.ReplaceAll(block, crlf, []byte("\n")), crOnly, blank)
	return message.ParseHeader(bytes.ReplaceAll(lines, []byte("\n"), crlf))
}

// Set is an ARC set: the values of its three fields. They go above all others, the results
// first and the seal last.
type Set struct{ Results, Signature, Seal string }

// Fields are names and values in the order in which they are put above the message.
func (s Set) Fields() [][2]string {
	return [][2]string{{aarName, s.Results}, {amsName, s.Signature}, {asName, s.Seal}}
}

// ErrNotSealed says that nothing can be added to a chain: it is full, was closed by a seal
// that says so, or could not be judged.
var ErrNotSealed = errors.New("the ARC chain takes no further set")

// Seal adds a set to a message, as it stands now with this header block and body; chain is
// what became of its sets when it came in, and results what was found then, the value of an
// Authentication-Results field. A chain that failed is sealed as failed, over the new set
// alone (RFC 8617 5.1.2).
func (k *Key) Seal(h *message.Header, bodyHash []byte, chain Chain, results string, at time.Time) (Set, error) {
	n := chain.Sets + 1
	if chain.Closed || n > maxSets || chain.Result == TempError || !k.RSA() {
		return Set{}, ErrNotSealed
	}
	i := "i=" + strconv.Itoa(n)
	set := Set{Results: i + "; " + results}
	h = asSent(h)
	x := indexFields(h)
	var err error
	set.Signature, err = k.signMessage(x, amsName, i, signedNames(x, "DKIM-Signature"), bodyHash, at)
	if err != nil {
		return Set{}, err
	}
	cv := chain.Result
	v := i + "; a=" + k.Algorithm() + "; t=" + strconv.FormatInt(at.Unix(), 10) + "; cv=" + string(cv) +
		"; d=" + k.Domain + "; s=" + k.Selector + "; b="
	raw := func(name, value string) *message.Field {
		return &message.Field{Name: name, Raw: []byte(name + ": " + value)}
	}
	var sets []arcSet
	if cv == Pass {
		sets = readChain(h).sets
	}
	sets = append(sets, arcSet{raw(aarName, set.Results), raw(amsName, set.Signature), raw(asName, v)})
	sig, err := k.sign(sealHash(sets))
	set.Seal = v + wrapText(sig)
	return set, err
}
