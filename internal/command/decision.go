package command

import (
	"slices"
	"strings"
)

// What a moderator says to a request, and to a post that is held.
const (
	Accept       Verb = "accept"
	AcceptSender Verb = "accept+" // a post, and its sender's from now on
	Reject       Verb = "reject"
	Discard      Verb = "discard"
	Ban          Verb = "ban"     // discard a post, and ban its sender
	Decline      Verb = "decline" // an invitation
)

// decisions are all spellings.
var decisions = map[string]Verb{
	"accept": Accept, "approve": Accept, "accept+": AcceptSender, "approve+": AcceptSender,
	"reject": Reject, "discard": Discard, "ban": Ban,
}

// Decision is what a moderator's answer says.
type Decision struct {
	Verb   Verb // one of those above, or Unknown
	Reason string
}

// ParseDecision reads a moderator's answer: its first line that is neither empty nor a
// quotation is one of the words, and perhaps a reason, which only a refusal has. Anything
// else decides nothing.
func ParseDecision(text string) Decision {
	lines := said(text)
	if len(lines) == 0 {
		return Decision{}
	}
	word, reason, _ := strings.Cut(clean(lines[0]), " ")
	d := Decision{verbOf(word), strings.TrimSpace(reason)}
	if d.Reason != "" && d.Verb != Reject {
		return Decision{}
	}
	return d
}

// invitations are what an invitation may be answered with, in all spellings.
var invitations = map[string]Verb{
	"accept": Accept, "join": Accept, "subscribe": Accept, "yes": Accept, "confirm": Accept,
	"decline": Decline, "reject": Decline, "discard": Decline, "refuse": Decline, "no": Decline,
}

// ParseInvitation reads the answer to an invitation: its first line that is neither empty nor
// a quotation is one of the words, alone, or where there is none the subject is. Anything
// else is Unknown: who writes that they are not interested has not joined.
func ParseInvitation(subject, text string) Verb {
	if lines := said(text); len(lines) > 0 {
		return invitations[strings.ToLower(strings.TrimRight(clean(lines[0]), ".:!, "))]
	}
	return invitations[strings.ToLower(strings.TrimSpace(clean(subject)))]
}

func verbOf(word string) Verb {
	return decisions[strings.ToLower(strings.TrimRight(word, ".:!,"))]
}

// Batch is a line that decides about several posts.
type Batch struct {
	Decision
	All  bool     // about all that the answered mail is about
	Refs []string // about these, in lower case
	Line string   // as it was written, cleaned as Command.Line is
}

// Bounds of what ParseBatch reads.
const (
	MaxBatches = 50
	MaxRefs    = 100 // a line
)

// ParseBatch reads the answer to a mail about many posts: lines of a word and what it is
// about, "all" or the names of posts, and for "reject" a reason behind a colon. Empty lines
// and quotations do not count. The lines end with the signature, or the first that is none,
// which comes last, with the verb Unknown.
func ParseBatch(text string) []Batch {
	var out []Batch
	for _, line := range said(text) {
		if len(out) == MaxBatches {
			break
		}
		b := parseBatch(line)
		out = append(out, b)
		if b.Verb == Unknown {
			break
		}
	}
	return out
}

func parseBatch(line string) Batch {
	b := Batch{Line: clean(line)}
	if len(line) > MaxLine {
		return b
	}
	what, reason, hasReason := strings.Cut(b.Line, ":")
	words := strings.Fields(strings.ToLower(strings.ReplaceAll(what, ",", " ")))
	if len(words) < 2 || len(words) > MaxRefs+1 {
		return b
	}
	verb, refs := verbOf(words[0]), words[1:]
	all := slices.Equal(refs, []string{"all"})
	if hasReason && verb != Reject || !all && slices.ContainsFunc(refs, notRef) {
		return b
	}
	b.Decision = Decision{verb, strings.TrimSpace(reason)}
	if b.All = all; !all {
		b.Refs = refs
	}
	return b
}

// notRef tells prose from the name of a post, which is six characters of base32.
func notRef(word string) bool {
	return len(word) != 6 || strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}
