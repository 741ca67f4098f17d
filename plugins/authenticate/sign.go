package authenticate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
)

// SignConfig is [plugin.sign].
type SignConfig struct {
	Keys       []mailauth.KeyFile `json:"keys" help:"[[plugin.sign.keys]] domain, selector, key_file, standby; nothing is signed without one (mlist dkim keygen makes them)"`
	ARC        bool               `json:"arc" help:"seal too, so that receivers can see how the post fared when it came in"`
	AuthservID string             `json:"authserv_id" help:"our name in ARC-Authentication-Results; hostname when empty"`

	ring *mailauth.Keyring
}

// Validate loads the keys.
func (c *SignConfig) Validate() (err error) {
	for _, k := range c.Keys {
		if k.Path != "" && !filepath.IsAbs(k.Path) {
			return fmt.Errorf("key %s: key_file %q: want an absolute path", k, k.Path)
		}
	}
	c.ring, err = mailauth.NewKeyring(c.Keys)
	if err != nil {
		// A joined error has a line for each; a configuration problem is one line.
		return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// Sign returns stage sign, which belongs last: what is changed after it breaks what it signs.
func Sign() sdk.Stage {
	return sdk.Stage{
		Name:    "sign",
		Help:    "signs with DKIM and seals with ARC",
		Body:    true,
		Digests: true,
		Handler: &sign{config: SignConfig{Keys: []mailauth.KeyFile{}, ARC: true}},
	}
}

type sign struct{ config SignConfig }

// Config implements sdk.Configurer.
func (s *sign) Config() any { return &s.config }

// Handle implements sdk.Handler. The time of signing is that of the post's arrival, so that a
// second run of the same post makes the same octets.
func (s *sign) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	keys := s.config.ring.For(p.List.Domain())
	if len(keys) == 0 {
		return sdk.Accept, nil
	}
	if personal(p) {
		s.instruct(p)
		return sdk.Accept, nil
	}
	hash := mailauth.NewBodyHash()
	if _, err := p.Body.WriteTo(hash); err != nil {
		return sdk.Verdict{}, fmt.Errorf("sign %s: %w", p.Entry, err)
	}
	sum, at := hash.Sum(), p.Envelope.Received
	if at.IsZero() {
		at = time.Now()
	}
	for _, k := range keys {
		v, err := k.Sign(p.Header, sum, at)
		if err != nil {
			return sdk.Verdict{}, fmt.Errorf("sign %s: %w", p.Entry, err)
		}
		p.Header.Prepend("DKIM-Signature", v)
	}
	return sdk.Accept, s.seal(p, keys, sum, at)
}

// NoteKeys is the note with the keys that each copy is to be signed with, one a line:
// domain, selector and path, with a space between.
const NoteKeys = "sign.keys"

// personal tells whether copies differ from member to member. What is signed before they are
// made holds for none of them.
func personal(p *sdk.Post) bool {
	how := p.List.String("personalize")
	return how == "individual" || how == "full"
}

// instruct leaves the signing of copies to who makes them. They are not sealed: a seal is two
// more RSA signatures for each, and says no more of the post than the DKIM-Signature.
func (s *sign) instruct(p *sdk.Post) {
	var lines []string
	for _, f := range mailauth.KeyFilesFor(s.config.Keys, p.List.Domain()) {
		lines = append(lines, f.Domain+" "+f.Selector+" "+f.Path)
	}
	if p.Notes == nil {
		p.Notes = map[string]string{}
	}
	p.Notes[NoteKeys] = strings.Join(lines, "\n")
}

// seal adds the ARC set, over everything and our own DKIM-Signature too (RFC 8617 5.1).
func (s *sign) seal(p *sdk.Post, keys []*mailauth.Key, sum []byte, at time.Time) error {
	if !s.config.ARC {
		return nil
	}
	id := s.config.AuthservID
	if id == "" {
		id = strings.ToLower(p.Hostname)
	}
	results := p.Notes["auth.results"]
	if found, err := mailauth.ParseAuthResults(results); err == nil {
		found.ID = id
		results = found.String()
	} else {
		results = mailauth.AuthResults{ID: id}.String()
	}
	chain, ok := arrived(p)
	if !ok {
		return nil
	}
	for _, k := range keys {
		set, err := k.Seal(p.Header, sum, chain, results, at)
		if errors.Is(err, mailauth.ErrNotSealed) {
			continue
		}
		if err != nil {
			return fmt.Errorf("seal %s: %w", p.Entry, err)
		}
		for _, f := range set.Fields() {
			p.Header.Prepend(f[0], f[1])
		}
		return nil
	}
	return nil
}

// arrived is the chain as it was when the post came in, which stage authenticate noted. A
// chain that nobody has looked at cannot be gone on with.
func arrived(p *sdk.Post) (mailauth.Chain, bool) {
	result := mailauth.Result(p.Notes["auth.arc"])
	chain := mailauth.ChainOf(p.Header, result)
	if chain.Sets == 0 {
		chain.Result = mailauth.None
		return chain, true
	}
	return chain, result == mailauth.Pass || result == mailauth.Fail
}
