package templates

import (
	"slices"

	"github.com/mlist/mlist/sdk/text"
)

// Text describes a text: Texts has them all, but for the phrases.
type Text struct {
	Name string
	Help string
	// Values are the placeholders that it may have, beside those of the list.
	Values []string
	// Letter: it is a message of its own, whose first line is its subject.
	Letter bool
	// Setting is the list's setting that comes before all files where it is not at its default.
	Setting string
	// Empty: it may be, and is then left out.
	Empty bool
	// Handlers get it, as sdk.List.Text or, where Setting is set, as that setting. Author: in
	// the language of who sent the post, not in the list's.
	Handlers, Author bool
}

// values makes the lists of placeholders below easier to read.
func values(names ...string) []string { return names }

// member are the placeholders of who receives a copy, where copies are personal.
var member = values("user_address", "user_delivered_to", "user_name", "user_name_or_address")

// Texts are all texts, in the order in which people are shown them.
var Texts = []Text{
	{Name: "header", Help: "before the text of every post", Values: member, Setting: "header", Empty: true, Handlers: true},
	{Name: "footer", Help: "after the text of every post", Values: member, Setting: "footer", Empty: true, Handlers: true},
	{Name: "digest_header", Help: "at the top of every digest", Setting: "digest_header", Empty: true, Handlers: true},
	{Name: "digest_masthead", Help: "what a digest is, and how to reach the list", Values: values("digest_name"), Empty: true, Handlers: true},
	{Name: "digest_footer", Help: "at the end of every digest", Setting: "digest_footer", Empty: true, Handlers: true},
	{Name: "dmarc_wrapped_message_text", Help: "before a post that is wrapped because of DMARC", Setting: "dmarc_wrapped_message_text", Empty: true, Handlers: true},

	{Name: "rejected", Help: "to the author of a post that was rejected", Values: values("reason", "subject", "date"), Letter: true},
	{Name: "nonmember_rejection_notice", Help: "the reason, where a nonmember's post is rejected", Setting: "nonmember_rejection_notice", Handlers: true, Author: true},
	{Name: "dmarc_moderation_notice", Help: "the reason, where a post is rejected because of DMARC", Values: values("domain"), Setting: "dmarc_moderation_notice", Handlers: true, Author: true},
	{Name: "held_author", Help: "to the author of a post that is held", Values: values("reason", "subject", "date"), Letter: true},
	{Name: "held_moderators", Help: "to each moderator: a post is held", Values: values("entry", "from", "subject", "date", "size", "reasons", "beginning", "ways", "ends"), Letter: true},
	{Name: "held_summary", Help: "to each moderator: all that waits", Values: values("posts", "requests", "ends", "report"), Letter: true},
	{Name: "acknowledge", Help: "to members who want to know that their post came in", Values: values("subject"), Letter: true, Handlers: true, Author: true},
	{Name: "autoresponse_postings_text", Help: "what posts are answered with, if autorespond_postings says so", Values: values("recipient"), Letter: true, Setting: "autoresponse_postings_text"},
	{Name: "autoresponse_owner_text", Help: "the same for mail to the owners", Values: values("recipient"), Letter: true, Setting: "autoresponse_owner_text"},
	{Name: "autoresponse_request_text", Help: "the same for mail to the -request address", Values: values("recipient"), Letter: true, Setting: "autoresponse_request_text"},

	{Name: "confirm_join", Help: "asks whether an address is to join", Values: values("user_address", "confirm_address", "token", "days"), Letter: true},
	{Name: "confirm_leave", Help: "asks whether an address is to leave", Values: values("user_address", "confirm_address", "token", "days"), Letter: true},
	{Name: "confirm_change", Help: "asks whether an address is to be sent something else", Values: values("user_address", "confirm_address", "token", "days", "wish"), Letter: true},
	{Name: "confirm_move", Help: "asks the old address, and then the new one, whether all lists are to write to the new one", Values: values("user_address", "new_address", "confirm_address", "token", "days", "wish"), Letter: true},
	{Name: "confirm_invite", Help: "asks an owner or moderator whether they want to invite people", Values: values("user_address", "addresses", "confirm_address", "token", "days"), Letter: true},
	{Name: "invitation", Help: "invites somebody to the list", Values: values("user_address", "inviter", "beginning", "confirm_address", "token", "days", "ways"), Letter: true},
	{Name: "invitation_help", Help: "to whose answer to an invitation says neither yes nor no"},
	{Name: "confirm_link", Help: "asks an address, and then another one, whether both are one person's", Values: values("user_address", "new_address", "confirm_address", "token", "days", "wish"), Letter: true},
	{Name: "confirm_unlink", Help: "asks an address whether another one is its person's no longer", Values: values("user_address", "new_address", "confirm_address", "token", "days", "wish"), Letter: true},
	{Name: "linked", Help: "to both addresses: they count as one person's", Values: values("user_address", "new_address"), Letter: true},
	{Name: "unlinked", Help: "to both addresses: they do not any more", Values: values("user_address", "new_address"), Letter: true},
	{Name: "moved", Help: "to both addresses: all lists write to the new one", Values: values("user_address", "new_address", "number"), Letter: true},
	{Name: "welcome", Help: "to who has joined", Values: values("user_address"), Letter: true},
	{Name: "goodbye", Help: "to who has left", Values: values("user_address"), Letter: true},
	{Name: "request_moderators", Help: "to owners and moderators: they are to decide on a request", Values: values("user_address", "user_name", "wish", "confirm_address", "days"), Letter: true},
	{Name: "request_refused", Help: "to whose request a moderator has rejected", Values: values("user_address", "wish", "reason"), Letter: true},
	{Name: "decide_help", Help: "to moderators whose answer decides nothing"},
	{Name: "decide_post_help", Help: "the same about a post"},
	{Name: "decide_posts_help", Help: "the same about many posts"},
	{Name: "joined_owners", Help: "to owners and moderators: somebody has joined", Values: values("user_address"), Letter: true},
	{Name: "left_owners", Help: "to owners and moderators: somebody has left", Values: values("user_address"), Letter: true},
	{Name: "results", Help: "what came of commands", Values: values("recipient", "report"), Letter: true},
	{Name: "site_results", Help: "what came of commands to the site's own address", Values: values("recipient", "report"), Letter: true},
	{Name: "site_help", Help: "what the site's own address answers to the command help"},
	{Name: "help", Help: "what the command help answers"},

	{Name: "bounce_probe", Help: "finds out whether a member can be reached", Values: values("user_address", "reason"), Letter: true},
	{Name: "bounce_warning", Help: "to a member who gets nothing any more because of bounces", Values: values("user_address", "confirm_address", "number", "warnings", "days", "last"), Letter: true},
	{Name: "bounce_enabled", Help: "to a member who gets mail again", Values: values("user_address", "missed"), Letter: true},
	{Name: "bounce_increment_owners", Help: "to owners and moderators: a member's score has risen", Values: values("user_address", "reason", "score"), Letter: true},
	{Name: "bounce_disabled_owners", Help: "to owners and moderators: delivery to a member is disabled", Values: values("user_address", "reason", "score"), Letter: true},
	{Name: "bounce_removed_owners", Help: "to owners and moderators: a member is removed because of bounces", Values: values("user_address", "reason"), Letter: true},
	{Name: "bounce_delayed_owners", Help: "to owners and moderators: a post waits for the mail system", Values: values("user_address", "reason", "entry"), Letter: true},
	{Name: "bounce_blamed_owners", Help: "to owners and moderators: many mail systems refuse a post", Values: values("number", "reason"), Letter: true},
}

// Placeholder tells of a placeholder what it stands for, and what `mlist template show` puts
// there.
type Placeholder struct{ Help, Sample string }

// placeholders are all that texts and phrases may have, but for those of the list.
var placeholders = map[string]Placeholder{
	"addresses":            {"addresses, a line each", "  ann@example.net\n  bob@example.com"},
	"accepted":             {"how many posts a moderator has let through", "3"},
	"beginning":            {"the first lines of a post", "  | Hello,\n  | shall we meet in spring?"},
	"changes":              {"what a member wants to be sent, in words", "receive summaries"},
	"confirm_address":      {"the address that an answer goes to", "dev-confirm+n7qf2kzt4mwa@lists.example.org"},
	"date":                 {"of the message, or since when", "Wed, 25 Nov 2026 21:00:00 +0000"},
	"days":                 {"how long it waits", "3"},
	"delivery":             {"whether a member is sent anything, in words", "on"},
	"digest_name":          {"what the digest is called", "Dev Digest, Vol 2, Issue 3"},
	"discarded":            {"how many posts a moderator has thrown away", "17"},
	"domain":               {"the author's domain", "example.com"},
	"ends":                 {"when a post waits no longer, as a sentence; may be nothing", "A message about which nobody decides within 10 days is discarded."},
	"entry":                {"the id of the queue entry", "aaaqeayeaudaocaj"},
	"file":                 {"the name of a file, or what it is", "plan.pdf"},
	"from":                 {"the field From of the message", "Ann <ann@example.net>"},
	"inviter":              {"who invites", "boss@example.com"},
	"issue":                {"the number of the digest in its volume", "3"},
	"language":             {"the name of a language", "de"},
	"field":                {"a header field", "X-Spam-Flag"},
	"list":                 {"a list's name as somebody wrote it", "devel"},
	"last":                 {"something for the last warning, else nothing", "yes"},
	"missed":               {"posts that were missed, one or two lines each; may be nothing", "  2026-11-24  Ann: Plans for spring"},
	"line":                 {"a line of the message", "\"unsubscribe\""},
	"mode":                 {"how a member receives posts, in words", "summaries"},
	"moderator":            {"who has decided", "mod@example.com"},
	"most":                 {"how many there may be", "10"},
	"new_address":          {"the address that takes the place of another one, or joins it", "ann@example.com"},
	"number":               {"how many, or which", "2"},
	"one":                  {"one of two", "receive summaries"},
	"other":                {"the other of two", "be sent its posts again"},
	"outcome":              {"what was decided, in words", "accepted"},
	"pattern":              {"what was looked for", "^yes"},
	"policy":               {"what it takes, in words", "you are asked to confirm"},
	"posts":                {"how many posts wait", "2"},
	"reason":               {"why", "The post names 12 recipients; this list takes fewer than 10."},
	"reasons":              {"why, a line for each reason", "  The post names 12 recipients; this list takes fewer than 10."},
	"recipient":            {"the address that was written to", "dev@lists.example.org"},
	"rejected":             {"how many posts a moderator has rejected", "1"},
	"requests":             {"how many requests wait", "1"},
	"report":               {"the commands, and what came of each; or what waits, and how to decide", "> join\nann@example.net has joined dev@lists.example.org."},
	"score":                {"the score of a member's bounces", "2.5"},
	"size":                 {"the size of a file, or of a message", "12 KB"},
	"subject":              {"of the message", "Plans for spring"},
	"token":                {"what confirms", "n7qf2kzt4mwa"},
	"topics":               {"the topics that a member chose", "releases"},
	"type":                 {"the content type of a file", "application/pdf"},
	"url":                  {"where it is on the web", "https://lists.example.org/dev/"},
	"usage":                {"how a command is written", "set [delivery=on|off]"},
	"user_address":         {"the address that it is about; of a footer: whose copy it is", "ann@example.net"},
	"user_delivered_to":    {"where the copy goes", "ann@example.net"},
	"user_name":            {"the name of who has the address; may be nothing", "Ann"},
	"user_name_or_address": {"the name, or without one the address", "Ann"},
	"volume":               {"the number of the digest's volume", "2"},
	"warnings":             {"how many warnings there are", "3"},
	"ways":                 {"the words that decide, and their links", "  accept     it goes to the list\n             mailto:dev-confirm%2Bn7qf2kzt4mwa@lists.example.org?subject=accept&body=accept"},
	"wish":                 {"what a request is for, in words", "join the list dev@lists.example.org"},
}

// manyLines are the values that may have more than one line.
var manyLines = values("report", "reasons", "beginning", "ways", "missed", "addresses")

// Describe returns the description of a text or a phrase; ok is false if there is none of the
// name. A phrase may have the placeholders that it has in English.
func Describe(name string) (t Text, ok bool) { return builtIn().describe(name) }

// DescribePlaceholder returns what a placeholder stands for; ok is false if there is none.
func DescribePlaceholder(name string) (p Placeholder, ok bool) {
	if p, ok = placeholders[name]; ok {
		return p, true
	}
	v, ok := text.List{Address: "dev@lists.example.org", Name: "Dev", Description: "How we build it"}.Value(name)
	return Placeholder{"of the list", v}, ok
}

// knows tells whether the text may have the placeholder.
func (t Text) knows(name string) bool {
	return slices.Contains(t.Values, name) || slices.Contains(text.ListNames, name)
}
