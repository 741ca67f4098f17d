// Package command reads the commands that people write to a list's -request address: one
// in the subject, and one in each of the first lines of the text. It is pure: what a
// command does, and whether it may be done, is for others.
package command

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Verb is what a command is about.
type Verb string

// The verbs, in the spelling that answers use.
const (
	Confirm Verb = "confirm"
	Echo    Verb = "echo"
	End     Verb = "end"
	Help    Verb = "help"
	Join    Verb = "join"
	Info    Verb = "info"
	Leave   Verb = "leave"
	Lists   Verb = "lists"
	Set     Verb = "set"
	Status  Verb = "status"
	Who     Verb = "who"
	Move    Verb = "move"
	Invite  Verb = "invite"
	Link    Verb = "link"
	Unlink  Verb = "unlink"
	Unknown Verb = "" // none of them
)

// verbs are all spellings: Mailman's, and those that people try.
var verbs = map[string]Verb{
	"confirm": Confirm, "echo": Echo, "end": End, "stop": End, "quit": End, "help": Help,
	"join": Join, "subscribe": Join, "leave": Leave, "unsubscribe": Leave, "remove": Leave, "signoff": Leave,
	"info": Info, "lists": Lists, "set": Set, "status": Status, "options": Status, "who": Who, "move": Move, "changeaddress": Move, "review": Who, "invite": Invite, "link": Link, "unlink": Unlink,
}

// Command is one line.
type Command struct {
	Verb Verb
	Args []string
	// List is which list it is about, of a command to the site's own address.
	List string
	// Line is the command as it was written: one line of valid UTF-8 without control
	// characters.
	Line string
}

// Bounds of what is read. More lines are no commands, and a longer line is none.
const (
	MaxLines = 10
	MaxLine  = 400
)

// Parse reads the commands of a message whose subject and text are decoded. A subject that
// is no command is just a subject. In the text, empty lines and quotations do not count (said),
// and the commands end with the signature, with the first line that is none (the last
// command then, with the verb Unknown), and with End, which is not among them.
//
// A text that starts with no command is prose, and has none: then they are those of the
// subject.
func Parse(subject, text string) []Command { return parse(subject, text, parseLine) }

// ParseSite is Parse for the site's own address, where what is about one list names it: by
// its address, or the part before the @, in front of the options.
func ParseSite(subject, text string) []Command { return parse(subject, text, parseSiteLine) }

func parse(subject, text string, parseLine func(string) Command) []Command {
	var out []Command
	if c := parseLine(withoutMarks(subject)); c.Verb == End {
		return nil
	} else if c.Verb != Unknown {
		out = append(out, c)
	}
	started := false
	for _, line := range said(text) {
		c := parseLine(line)
		if c.Verb == End || c.Verb == Unknown && !started || len(out) == MaxLines {
			break
		}
		started = true
		out = append(out, c)
		if c.Verb == Unknown {
			break
		}
	}
	return out
}

// mark is what programs put before the subject of an answer: a short word, or one of some longer
// ones, and perhaps how often it was answered.
var mark = regexp.MustCompile(`(?i)^(?:\pL{1,3}|antw|antwort|doorst|ответ)(?:[\[(^]\d+[\])]?)?[ \x{a0}]*[:：]`)

// withoutMarks takes the marks of an answer off a subject.
func withoutMarks(s string) string {
	for {
		s = strings.TrimSpace(s)
		found := mark.FindString(s)
		if found == "" {
			return s
		}
		s = s[len(found):]
	}
}

// siteVerbs are those of verbs that mean something else at the site's own address, or only there.
var siteVerbs = map[string]Verb{"which": Status, "whoami": Status, "subscriptions": Status}

// parseSiteLine takes the name of a list off before the options are looked at.
func parseSiteLine(line string) Command {
	words := strings.Fields(clean(line))
	if len(words) == 0 {
		return Command{}
	}
	verb, alias := siteVerbs[strings.ToLower(words[0])]
	if alias {
		words[0] = string(verb)
	} else {
		verb = verbs[strings.ToLower(words[0])]
	}
	name := ""
	switch verb {
	case Join, Leave, Set, Who, Info, Status, Invite:
		if len(words) > 1 && !strings.Contains(words[1], "=") {
			name = words[1]
			words = slices.Delete(words, 1, 2)
		} else if verb != Status {
			return Command{Line: clean(line)}
		}
	case Confirm: // a token is a list's
		return Command{Line: clean(line)}
	}
	c := parseLine(strings.Join(words, " "))
	c.Line, c.List = clean(line), strings.Trim(name, "<>")
	return c
}

func parseLine(line string) Command {
	c := Command{Line: clean(line)}
	if len(line) > MaxLine {
		return c
	}
	words := strings.Fields(c.Line)
	if len(words) == 0 {
		return c
	}
	word := words[0]
	if len(words) == 1 { // as people write it whom a page told to send "unsubscribe"
		word = strings.Trim(word, `"'“”„«».,!`)
	}
	verb, ok := verbs[strings.ToLower(word)]
	if !ok || !fits(verb, words[1:]) || verb == Help && strings.HasSuffix(words[0], "!") {
		return c
	}
	if (verb == Join || verb == Leave) && len(words) == 2 && !strings.Contains(words[1], "=") {
		words[1] = "address=" + words[1]
	}
	c.Verb, c.Args = verb, words[1:]
	return c
}

// fits tells a command from prose that starts with the same word, such as "help me please".
func fits(v Verb, args []string) bool {
	switch v {
	case Confirm:
		return len(args) == 1
	case Move, Link, Unlink:
		return len(args) == 1 && strings.Contains(args[0], "@")
	case Invite:
		return len(args) > 0 && !slices.ContainsFunc(args, func(a string) bool { return !strings.Contains(a, "@") })
	case Join, Leave, Set, Who:
		if (v == Join || v == Leave) && len(args) == 1 && strings.Contains(args[0], "@") {
			return true // in the way of Majordomo
		}
		for _, a := range args {
			if !strings.Contains(a, "=") {
				return false
			}
		}
	case Help, End:
		return len(args) <= 1
	case Info, Lists, Status:
		return len(args) == 0
	}
	return true
}

// clean is a line that is safe to print: what strangers wrote shapes no answer.
func clean(line string) string {
	line = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsControl(r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), unicode.Is(unicode.Cf, r):
			return ' '
		}
		return r
	}, line)
	line = strings.TrimSpace(line)
	if len(line) > MaxLine {
		line = strings.ToValidUTF8(line[:MaxLine], "") + "…"
	}
	return line
}

// Options reads arguments of the form name=value, with their names in lower case; bad is
// one that is of another form, is there twice, or has no name of those that are known.
func (c Command) Options(known ...string) (options map[string]string, bad string) {
	options = map[string]string{}
	for _, a := range c.Args {
		name, value, ok := strings.Cut(a, "=")
		name = strings.ToLower(name)
		_, twice := options[name]
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !ok || twice || !found {
			return nil, a
		}
		options[name] = value
	}
	return options, ""
}
