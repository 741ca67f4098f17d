package pipeline

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/oneclick"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// individual is what the copies of a mail do not have in common. Its zero value is nothing.
type individual struct {
	returnKey string // of package verp
	mark      string // of placeholders in header and body
	sign      []spool.SignKey
}

// newMark makes the mark of a post's placeholders: 75 bits that no mail can know.
func newMark() string {
	random := make([]byte, 10)
	rand.Read(random) // it never fails
	return "m" + strings.ToLower(base32.StdEncoding.EncodeToString(random))[:15]
}

// personalize has each member get a copy of their own, where the list wants that. Digests
// are the same for everybody.
func (p *post) personalize(hp *host.Post) {
	if p.list.Settings.Personalize != list.PersonalizeNone && !p.isDigest() {
		hp.Mark = newMark()
	}
}

// individual is what is to differ in the copies of a post that all stages have accepted. Of a
// list that personalises fully it makes To each member's own.
func (d *Daemon) individual(ctx context.Context, p *post, hp *host.Post, number int64) (individual, error) {
	out := individual{mark: hp.Mark}
	for line := range strings.Lines(hp.Notes[noteKeys]) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) < 3 {
			return out, permanentError{fmt.Errorf("note %s: %q: want domain, selector and file", noteKeys, line)}
		}
		out.sign = append(out.sign, spool.SignKey{Domain: words[0], Selector: words[1], File: words[2]})
	}
	if hp.Mark != "" && p.list.Settings.Personalize == list.PersonalizeFull {
		name, _ := sdk.Placeholder(hp.Mark, sdk.FieldName, sdk.EncodeWord)
		addr, err := sdk.Placeholder(hp.Mark, sdk.FieldAddress, sdk.EncodeUTF8)
		if err != nil {
			return out, err
		}
		hp.Header.Replace("To", name+" <"+addr+">")
	}
	every := int64(p.list.Settings.VERPDeliveryInterval)
	if hp.Mark != "" || every == 1 || every > 1 && number > 0 && number%every == 0 {
		key, err := d.verpKey(ctx, p.list.Address)
		if err != nil {
			return out, err
		}
		out.returnKey = key.String()
	}
	return out, nil
}

// maxSignedHeader is how large a header block may be, in octets, that we sign without stage
// sign: outbound reads it whole.
const maxSignedHeader = 512 << 10

// ownMail has outbound sign what goes through no stage: notices, answers, and what is sent on
// to the owners.
func (d *Daemon) ownMail(p *post, h *message.Header) individual {
	keys := d.cfg.Load().SignKeys
	if keys == nil || len(h.Bytes()) > maxSignedHeader {
		return individual{}
	}
	return individual{sign: keys(p.list.Address.Domain)}
}

// noteKeys is the note in which stage sign leaves the keys for copies: see its documentation.
const noteKeys = "sign.keys"

// maxSlots bounds what outbound has to fill in for each member.
const maxSlots = 200

// slotFinder passes bytes on, and notes where placeholders stand in them.
type slotFinder struct {
	w     io.Writer
	mark  []byte
	at    int64  // how much was written
	tail  []byte // of it, as a placeholder may go on
	slots []spool.Slot
	err   error
}

// Write implements io.Writer.
func (f *slotFinder) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if len(f.mark) > 0 {
		f.look(p[:n])
	}
	if err == nil {
		err = f.err
	}
	return n, err
}

func (f *slotFinder) look(p []byte) {
	text := append(f.tail, p...)
	base, pos := f.at-int64(len(f.tail)), 0
	f.at += int64(len(p))
	size := len(f.mark) + sdk.PlaceholderCodes
	for {
		i := bytes.Index(text[pos:], f.mark)
		if i < 0 || pos+i+size > len(text) {
			break
		}
		i += pos
		pos = i + size
		field, encoding, err := sdk.ReadPlaceholder(string(text[i+len(f.mark) : pos]))
		if err == nil && len(f.slots) == maxSlots {
			err = fmt.Errorf("more than %d placeholders", maxSlots)
		}
		if err != nil {
			f.err = permanentError{err}
			return
		}
		f.slots = append(f.slots, spool.Slot{Offset: base + int64(i), Length: int64(size), Field: string(field), Encoding: string(encoding)})
	}
	f.tail = append([]byte(nil), text[max(pos, len(text)-size+1, 0):]...)
}

// wants tells whether a slot needs one of these fields.
func wants(slots []spool.Slot, fields ...sdk.Field) bool {
	return slices.ContainsFunc(slots, func(s spool.Slot) bool { return slices.Contains(fields, sdk.Field(s.Field)) })
}

// oneClickKey is the key of a list's tokens of one-click unsubscription, as a chunk has it.
func (d *Daemon) oneClickKey(ctx context.Context, l address.Address) (string, error) {
	secret, err := d.oneClickSecret.get(ctx, d.store, store.SecretOneClick)
	if err != nil {
		return "", storeFailed("read the key of one-click unsubscription", err)
	}
	return oneclick.Derive(secret, l).String(), nil
}

// names are the display names of some recipients, "" where there is none.
func (d *Daemon) names(ctx context.Context, listID int64, recipients []string) ([]string, error) {
	addrs := make([]address.Address, 0, len(recipients))
	for _, r := range recipients {
		a, err := address.Parse(r)
		if err != nil {
			return nil, fmt.Errorf("recipient: %w", err)
		}
		addrs = append(addrs, a)
	}
	memberships, err := d.store.Memberships(ctx, listID, addrs)
	if err != nil {
		return nil, storeFailed("look names up", err)
	}
	byKey := make(map[string]string, len(memberships))
	for _, m := range memberships {
		if m.DisplayName != "" && (m.Role == list.Member || byKey[m.Address.Key()] == "") {
			byKey[m.Address.Key()] = m.DisplayName
		}
	}
	names := make([]string, len(recipients))
	for i, a := range addrs {
		names[i] = byKey[a.Key()]
	}
	return names, nil
}
