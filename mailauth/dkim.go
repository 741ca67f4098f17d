package mailauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/mlist/mlist/sdk/message"
)

// Signature is what verifying one DKIM signature found.
type Signature struct {
	Domain   string // d=, in lower case
	Selector string // s=
	Result   Result
	Reason   string   // for people; empty when it passes
	Fields   []string // what it signs, as h= says
	Testing  bool     // the key says that the domain is only testing (t=y)
	Partial  bool     // it signs only the first l= octets of the body
}

// Verdict is what verifying a message found.
type Verdict struct {
	DKIM []Signature // from the top of the message down
	ARC  Chain
}

// Chain is the state of a message's ARC sets.
type Chain struct {
	Result Result // None, Pass, Fail or TempError
	Sets   int    // the highest instance that is there
	// Sealer is who made the newest set, the domain of its ARC-Seal.
	Sealer string
	Reason string // why it fails
	// Closed: the newest seal itself says that the chain has failed; nothing is to be added.
	Closed bool
}

// Verifier verifies messages. It may be used by many goroutines at once.
type Verifier struct {
	Resolver Resolver
	Now      func() time.Time // time.Now if nil
}

// Verify judges every DKIM signature, up to ten, and the ARC chain, in one pass over the
// body. The error is one of reading the body.
func (v *Verifier) Verify(ctx context.Context, h *message.Header, body io.Reader) (Verdict, error) {
	m := v.begin(ctx, h)
	if err := copyBody(body, m.hashes()); err != nil {
		return Verdict{}, fmt.Errorf("verify: read the body: %w", err)
	}
	return m.finish(), nil
}

// verification is one message being verified.
type verification struct {
	now    time.Time
	fields *fieldIndex
	dkim   []*judged
	chain  *chain
}

// judged is a signature and what is known of it.
type judged struct {
	*signature
	result Result
	err    error // nil: nothing wrong so far
	keys   []string
}

// begin reads the signatures and asks for their keys, all at once.
func (v *Verifier) begin(ctx context.Context, h *message.Header) *verification {
	m := &verification{now: time.Now(), fields: indexFields(h), chain: readChain(h)}
	if v.Now != nil {
		m.now = v.Now()
	}
	for f := range h.Fields() {
		if !strings.EqualFold(f.Name, "DKIM-Signature") {
			continue
		}
		s, err := parseDKIM(f)
		if err == nil {
			err = s.expired(m.now)
		}
		j := &judged{signature: s}
		switch {
		case len(m.dkim) >= maxSignatures:
			j.fail(Policy, fmt.Errorf("only the first %d signatures are judged", maxSignatures))
		case err != nil:
			j.fail(PermError, err)
		}
		if m.dkim = append(m.dkim, j); len(m.dkim) == 10*maxSignatures {
			break // the rest are not even worth a word
		}
	}
	var wg sync.WaitGroup
	for _, j := range m.good() {
		wg.Go(func() { j.askKeys(ctx, v.Resolver) })
	}
	wg.Wait()
	return m
}

// good are the signatures that may still pass: of DKIM, and of the ARC chain.
func (m *verification) good() []*judged {
	var out []*judged
	for _, j := range append(m.dkim[:len(m.dkim):len(m.dkim)], m.chain.signatures()...) {
		if j.err == nil {
			out = append(out, j)
		}
	}
	return out
}

func (j *judged) fail(r Result, err error) {
	if j.err == nil {
		j.result, j.err = r, err
	}
}

func (j *judged) askKeys(ctx context.Context, r Resolver) {
	var err error
	switch j.keys, err = keys(ctx, r, j.selector, j.domain); {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		j.fail(PermError, errors.New("no key in DNS"))
	default:
		j.fail(TempError, err)
	}
}

// hashes are the hashes of the body that are wanted, each once.
func (m *verification) hashes() []*BodyHash {
	type variant struct {
		canon Canon
		limit int64
	}
	have := map[variant]*BodyHash{}
	var out []*BodyHash
	for _, j := range m.good() {
		if j.bodyHash == nil {
			continue // a seal has none
		}
		w := variant{j.body, j.limit}
		if have[w] == nil {
			have[w] = newBodyHash(j.body, newHash(j.sha1), j.limit)
			out = append(out, have[w])
		}
		j.hash = have[w]
	}
	return out
}

func (m *verification) finish() Verdict {
	var v Verdict
	sums := map[*BodyHash][]byte{}
	for _, j := range m.dkim {
		v.DKIM = append(v.DKIM, j.judge(m.fields, sums))
	}
	v.ARC = m.chain.judge(m.fields, sums)
	return v
}

// judge says what comes of a DKIM signature.
func (j *judged) judge(fields *fieldIndex, sums map[*BodyHash][]byte) Signature {
	s := Signature{Domain: j.domain, Selector: j.selector, Fields: j.fields, Partial: j.limit >= 0}
	if j.err == nil {
		s.Testing = j.check(j.headerHash(fields), sums)
	}
	s.Result = Pass
	if j.err != nil {
		s.Result, s.Reason = j.result, j.err.Error()
	}
	return s
}

// check checks keys, body hash and signature in RFC 6376 6.1's order, and notes what is wrong.
// Any one of the keys will do; what is told is about the first.
func (j *judged) check(headerHash []byte, sums map[*BodyHash][]byte) (testing bool) {
	usable, err := j.usable()
	if len(usable) == 0 {
		j.fail(PermError, err)
		return false
	}
	if j.hash != nil {
		if sums[j.hash] == nil {
			sums[j.hash] = j.hash.Sum()
		}
		if err := j.bodyMatches(sums[j.hash]); err != nil {
			j.fail(bodyResult(err), err)
			return false
		}
	}
	for _, k := range usable {
		if k.verify(headerHash, j.sig) {
			return k.testing
		}
	}
	j.fail(Fail, errSignature)
	return false
}

// usable are the keys that may have made the signature, or why the first may not.
func (j *judged) usable() (usable []*publicKey, first error) {
	for _, record := range j.keys {
		k, err := parseKey(record)
		if err == nil {
			err = k.fits(j.signature)
		}
		if err == nil {
			usable = append(usable, k)
		} else if first == nil {
			first = err
		}
	}
	return usable, first
}

func bodyResult(err error) Result {
	if errors.Is(err, errBodyHash) {
		return Fail
	}
	return PermError
}
