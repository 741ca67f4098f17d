package sender

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/emersion/go-sasl"
)

// maxChallenges bounds an AUTH exchange. LOGIN, the longest here, has two.
const maxChallenges = 8

// authenticate logs in (RFC 4954). It sends a password only under TLS or to the same
// machine.
func (c *Conn) authenticate() error {
	if !c.tls && !c.local() {
		return c.failed(opAuth, errors.New("no TLS: the password is not sent in the clear"))
	}
	var client sasl.Client
	switch {
	case slices.Contains(c.ext.auth, sasl.Plain):
		client = sasl.NewPlainClient("", c.cfg.Username, c.cfg.Password)
	case slices.Contains(c.ext.auth, sasl.Login):
		client = &login{c.cfg.Username, c.cfg.Password, 0}
	default:
		return c.failed(opAuth, fmt.Errorf("the MTA offers %q: want PLAIN or LOGIN", c.ext.auth))
	}
	mech, first, err := client.Start()
	if err != nil {
		return c.failed(opAuth, err)
	}
	line := "AUTH " + mech
	if first != nil {
		line += " " + encode(first)
	}
	for range maxChallenges {
		r, challenge, err := c.exchange(line)
		if err != nil {
			return err
		}
		if r.Code != 334 {
			if !r.positive() {
				return c.refused(opAuth, r)
			}
			return nil
		}
		answer, err := client.Next(challenge)
		if err != nil {
			return c.failed(opAuth, err)
		}
		line = base64.StdEncoding.EncodeToString(answer)
	}
	return c.failed(opAuth, errors.New("too many challenges"))
}

// exchange sends a line of AUTH and decodes the challenge, if one comes back.
func (c *Conn) exchange(line string) (Reply, []byte, error) {
	var challenge []byte
	var bad error
	r, err := c.command(opAuth, line, func(text []byte) {
		challenge, bad = base64.StdEncoding.DecodeString(string(text))
	})
	if err != nil {
		return r, nil, err
	}
	if r.Code == 334 && bad != nil {
		return r, nil, c.failed(opAuth, fmt.Errorf("challenge: %w", bad))
	}
	return r, challenge, nil
}

// encode is an initial response; "=" is one of no octets.
func encode(first []byte) string {
	if len(first) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(first)
}

// login is LOGIN for servers that word their prompts as they like; go-sasl's own
// insists on one spelling. They ask for the name, then for the password.
type login struct {
	name, password string
	asked          int
}

// Start gives no initial response: not every server takes one with LOGIN.
func (l *login) Start() (string, []byte, error) { return sasl.Login, nil, nil }

func (l *login) Next([]byte) ([]byte, error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.name), nil
	case 2:
		return []byte(l.password), nil
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}
