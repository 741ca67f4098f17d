package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// publicKey is a key record (RFC 6376 3.6.1).
type publicKey struct {
	rsa      *rsa.PublicKey // one of the two
	ed25519  ed25519.PublicKey
	hashes   []string // acceptable ones; nil is all
	services []string
	testing  bool // t=y
	strict   bool // t=s: i= may not be a subdomain of d=
}

var errRevoked = errors.New("the key was revoked")

// parseKey reads a key record.
func parseKey(record string) (*publicKey, error) {
	if len(record) > maxRecord {
		return nil, fmt.Errorf("the key record has over %d octets", maxRecord)
	}
	t, err := parseTags(record)
	if err != nil {
		return nil, fmt.Errorf("key record: %w", err)
	}
	if v, ok := t["v"]; ok && v != "DKIM1" {
		return nil, fmt.Errorf("key record of version %.20q", v)
	}
	p, ok := t["p"]
	if !ok {
		return nil, errors.New("key record: tag p is missing")
	}
	if p == "" {
		return nil, errRevoked
	}
	k := &publicKey{}
	if _, ok := t["h"]; ok {
		k.hashes = t.list("h")
	}
	if _, ok := t["s"]; ok {
		k.services = t.list("s")
	}
	flags := t.list("t")
	k.testing, k.strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	der, err := t.base64("p")
	if err != nil {
		return nil, fmt.Errorf("key record: %w", err)
	}
	switch kind, ok := t["k"]; {
	case !ok, kind == "rsa":
		k.rsa, err = parseRSA(der)
	case kind == "ed25519":
		if len(der) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key record: an Ed25519 key of %d octets", len(der))
		}
		k.ed25519 = der
	default:
		return nil, fmt.Errorf("key record: a key of kind %.20q", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("key record: %w", err)
	}
	return k, nil
}

// parseRSA takes SubjectPublicKeyInfo, which is what everybody publishes, and the bare
// RSAPublicKey that RFC 6376 names (its erratum 3017 allows both).
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	if k, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return k, nil
	}
	if parsed, err := x509.ParsePKIXPublicKey(der); err == nil {
		if k, ok := parsed.(*rsa.PublicKey); ok {
			return k, nil
		}
	}
	return nil, errors.New("no RSA key")
}

// fits tells whether the record lets the signature use it.
func (k *publicKey) fits(s *signature) error {
	if k.services != nil && !slices.Contains(k.services, "*") && !slices.Contains(k.services, "email") {
		return errors.New("the key is not for mail")
	}
	if k.hashes != nil && !slices.Contains(k.hashes, s.hashName()) {
		return fmt.Errorf("the key does not allow %s", s.hashName())
	}
	if k.strict && s.identityDomain != "" && s.identityDomain != s.domain {
		return errors.New("the key does not allow subdomains in i=")
	}
	switch {
	case s.ed25519 && k.ed25519 == nil, !s.ed25519 && k.rsa == nil:
		return errors.New("the key is of another kind than the signature")
	case k.rsa == nil:
		return nil
	}
	switch bits := k.rsa.N.BitLen(); {
	case bits < minRSABits:
		return fmt.Errorf("the key has %d bits, at least %d are needed", bits, minRSABits)
	case bits > maxRSABits:
		return fmt.Errorf("the key has %d bits, at most %d are tried", bits, maxRSABits)
	}
	return nil
}

// verify checks a signature of a SHA-256 hash.
func (k *publicKey) verify(hash, sig []byte) bool {
	if k.rsa != nil {
		return rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, hash, sig) == nil
	}
	return ed25519.Verify(k.ed25519, hash, sig) // RFC 8463 3: what is signed is the hash
}

// keys asks for the records at a selector; ErrNotFound says that there is none.
func keys(ctx context.Context, r Resolver, selector, domain string) ([]string, error) {
	records, err := r.LookupTXT(ctx, selector+"._domainkey."+domain)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, ErrNotFound
	}
	return records[:min(len(records), maxKeys)], nil
}

// Record is the key record that publishes a public key: the text of the TXT record at
// SELECTOR._domainkey.DOMAIN.
func Record(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return "", fmt.Errorf("write the key record: %w", err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k), nil
	}
	return "", fmt.Errorf("write the key record: a key of type %T", pub)
}

// SameKey tells whether a key record publishes this key, and what keeps it from being used.
func SameKey(record string, pub crypto.PublicKey) (bool, error) {
	k, err := parseKey(record)
	if err != nil {
		return false, err
	}
	switch p := pub.(type) {
	case *rsa.PublicKey:
		return k.rsa != nil && k.rsa.Equal(p), nil
	case ed25519.PublicKey:
		return k.ed25519 != nil && k.ed25519.Equal(p), nil
	}
	return false, nil
}

func sum256(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// lower puts a domain in the form in which it is compared: lower case, without the root's
// dot, in A-labels.
func lower(domain string) string {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	return toASCII(domain)
}
