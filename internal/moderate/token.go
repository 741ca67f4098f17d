package moderate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// A moderator's token is what it is about, in six characters, and ten of a keyed hash of
// that, the list and the moderator: 50 bits, which nobody can try out by sending mail. So it
// is one moderator's alone, ends when they are none any more, and nothing has to be stored.
// It is about
//
//	a post, by its handle; what was decided once is decided
//	all that waited until some minute, which a summary lists
//
// Tokens are in lower case, because relays may fold the case of a local part.
const (
	TokenLen = store.HandleLen + macLen
	macLen   = 10
)

// MaxModerators is how many people of a list are told, and may decide by mail.
const MaxModerators = 100

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Tokens makes and reads the tokens of one list.
type Tokens struct {
	secret []byte
	list   int64
}

// Tokens returns those of a list.
func (d *Desk) Tokens(ctx context.Context, l *list.List) (Tokens, error) {
	secret, err := d.Store.Secret(ctx, store.SecretModeration)
	return Tokens{secret, l.ID}, err
}

// kinds of token: one cannot stand for another.
const (
	kindPost    = 'p'
	kindSummary = 's'
)

func (t Tokens) sum(kind byte, moderator address.Address, about string) string {
	m := hmac.New(sha256.New, t.secret)
	m.Write([]byte("mlist moderator\x00"))
	m.Write(binary.BigEndian.AppendUint64([]byte{kind}, uint64(t.list)))
	m.Write([]byte(about + "\x00" + moderator.Key()))
	return encoding.EncodeToString(m.Sum(nil))[:macLen]
}

// Post is a moderator's token for a post.
func (t Tokens) Post(moderator address.Address, handle string) string {
	return handle + t.sum(kindPost, moderator, handle)
}

// Summary is a moderator's token for all that was held until a minute.
func (t Tokens) Summary(moderator address.Address, until time.Time) string {
	about := Minute(until)
	return about + t.sum(kindSummary, moderator, about)
}

// Minute writes a time in six characters: 30 bits, which last until the year 4011.
func Minute(t time.Time) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	var b [store.HandleLen]byte
	n := t.Unix() / 60
	for i := range b {
		b[len(b)-1-i], n = digits[n&31], n>>5
	}
	return string(b[:])
}

// ParseMinute reads what a summary is about.
func ParseMinute(s string) (time.Time, bool) {
	if len(s) != store.HandleLen {
		return time.Time{}, false
	}
	var n int64
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
			n = n<<5 | int64(c-'a')
		case c >= '2' && c <= '7':
			n = n<<5 | int64(c-'2'+26)
		default:
			return time.Time{}, false
		}
	}
	return time.Unix(n*60, 0).UTC(), true
}

// Ticket is what a token lets its moderator decide about.
type Ticket struct {
	Moderator address.Address
	Handle    string    // of a post; or
	Until     time.Time // all that was held until then
}

// ErrNoTicket: the token is none that this list gave to one of its moderators.
var ErrNoTicket = errors.New("no moderator has this token")

// Read finds out whose a token is, and what for.
func (d *Desk) Read(ctx context.Context, l *list.List, token string) (Ticket, error) {
	token = strings.ToLower(token)
	if len(token) != TokenLen {
		return Ticket{}, ErrNoTicket
	}
	tokens, err := d.Tokens(ctx, l)
	if err != nil {
		return Ticket{}, err
	}
	moderators, err := d.having(ctx, l, list.Moderator, list.Owner)
	if err != nil {
		return Ticket{}, err
	}
	domains, err := d.DomainPeople(ctx, l, list.Moderator, list.Owner)
	if err != nil {
		return Ticket{}, err
	}
	moderators = append(moderators, domains...)
	about, mac := token[:store.HandleLen], []byte(token[store.HandleLen:])
	for _, m := range moderators {
		if hmac.Equal([]byte(tokens.sum(kindPost, m, about)), mac) {
			return Ticket{Moderator: m, Handle: about}, nil
		}
		if until, ok := ParseMinute(about); ok && hmac.Equal([]byte(tokens.sum(kindSummary, m, about)), mac) {
			return Ticket{Moderator: m, Until: until}, nil
		}
	}
	return Ticket{}, ErrNoTicket
}

// Moderators are whom the list tells what waits: its moderators, or its owners if it has
// none, or else those of its domain.
func (d *Desk) Moderators(ctx context.Context, l *list.List) ([]address.Address, error) {
	for _, role := range []list.Role{list.Moderator, list.Owner} {
		if some, err := d.having(ctx, l, role); err != nil || len(some) > 0 {
			return some, err
		}
	}
	for _, role := range []list.Role{list.Moderator, list.Owner} {
		if some, err := d.DomainPeople(ctx, l, role); err != nil || len(some) > 0 {
			return some, err
		}
	}
	return nil, nil
}

// DomainPeople are those who have one of the roles in the list's domain, MaxModerators at most.
func (d *Desk) DomainPeople(ctx context.Context, l *list.List, roles ...list.Role) ([]address.Address, error) {
	var out []address.Address
	for r, err := range d.Store.DomainRoles(ctx, l.Address.Domain) {
		if err != nil {
			return nil, err
		}
		if slices.Contains(roles, r.Role) && len(out) < MaxModerators {
			out = append(out, r.Address)
		}
	}
	return out, nil
}

// having are those who have one of the roles, MaxModerators of each.
func (d *Desk) having(ctx context.Context, l *list.List, roles ...list.Role) ([]address.Address, error) {
	var out []address.Address
	for _, role := range roles {
		n := 0
		for m, err := range d.Store.Members(ctx, l.ID, store.Filter{Roles: []list.Role{role}}) {
			if err != nil {
				return nil, err
			}
			if n++; n > MaxModerators {
				break
			}
			out = append(out, m.Address)
		}
	}
	return out, nil
}
