package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"

	"github.com/mlist/mlist/internal/store"
)

// What a member chose is stored as lines, with a line end before the first and after
// each: "\nbugs\nnews\n", so that "\nbugs\n" is found in it. An empty line at the end,
// for posts that match no topic, is found like any name. "" is every post.

func topicsText(topics string, nonmatching bool) string {
	switch {
	case topics == "":
		return ""
	case nonmatching:
		return "\n" + topics + "\n\n"
	}
	return "\n" + topics + "\n"
}

// readTopics is the reverse of topicsText.
func readTopics(text string) (topics string, nonmatching bool) {
	text, nonmatching = strings.CutSuffix(text, "\n\n")
	return strings.Trim(text, "\n"), nonmatching
}

// topicsJSON is what a post has, in the form in which queries take it.
func topicsJSON(topics []string) string {
	lines := make([]string, len(topics))
	for i, t := range topics {
		lines[i] = "\n" + t + "\n"
	}
	text, _ := json.Marshal(lines) // strings never fail
	return string(text)
}

// errNoTopics: without topics of their own, a member gets every post.
var errNoTopics = errors.New("posts that match no topic can be chosen only beside topics")

// changeTopics makes the new text of a member whose row has another.
func (s *Store) changeTopics(ctx context.Context, tx *sql.Tx, listID, role int64, k string, c store.MemberChange) (string, error) {
	var text string
	if err := tx.StmtContext(ctx, s.q.memberTopics).QueryRowContext(ctx, listID, role, k).Scan(&text); err != nil {
		return "", notFound(err)
	}
	topics, nonmatching := readTopics(text)
	if c.Topics != nil {
		topics = *c.Topics
	}
	if c.Nonmatching != nil {
		nonmatching = *c.Nonmatching
	}
	if topics == "" && c.Nonmatching != nil && *c.Nonmatching {
		return "", errNoTopics
	}
	return topicsText(topics, nonmatching), nil
}
