package sqlstore

import (
	"fmt"

	"github.com/mlist/mlist/internal/list"
)

// Words are stored as their place in these tables: a row of a member is short, and a
// word may be renamed. Places never change; new words go to the end. What nearly every
// row has, 0 and 1, SQLite stores in no space at all.
var (
	roles    = words[list.Role]{"", list.Member, list.Owner, list.Moderator, list.Nonmember, list.Sender}
	modes    = words[list.Mode]{"", list.Regular, list.PlaintextDigest, list.MIMEDigest, list.SummaryDigest}
	statuses = words[list.Status]{"", list.Enabled, list.ByUser, list.ByBounces, list.ByModerator}
	states   = words[list.State]{list.Open, list.Frozen, list.Closed}
	actions  = words[list.Action]{"", list.Defer, list.Accept, list.Hold, list.Reject, list.Discard}
)

type words[T ~string] []T

func (w words[T]) code(word T) (int64, error) {
	for i := range w {
		if w[i] == word {
			return int64(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no %T that a store knows", string(word), word)
}

func (w words[T]) word(code int64) (T, error) {
	if code < 0 || code >= int64(len(w)) {
		return "", fmt.Errorf("%d is no %T in the store", code, w[0])
	}
	return w[code], nil
}

// mask has a bit for the code of each of chosen; all bits if it is empty, which means
// any.
func (w words[T]) mask(chosen []T) (int64, error) {
	if len(chosen) == 0 {
		return 1<<len(w) - 1, nil
	}
	var m int64
	for _, c := range chosen {
		code, err := w.code(c)
		if err != nil {
			return 0, err
		}
		m |= 1 << code
	}
	return m, nil
}
