package bounce

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/mlist/mlist/internal/address"
)

// item is one recipient found in a text, with the lines that say why.
type item struct {
	addr    string
	final   string // where it led, if the text says so
	why     []string
	delayed bool
}

// reader goes through the text of a bounce.
type reader struct {
	ours    map[string]bool
	strict  bool // only items of lists count
	always  bool // lists count without a phrase before them
	back    bool // and sentences: the message is attached, and no person's address is in the reverse-path
	named   bool // not those that are guessed: behind a label, or the only one there
	items   []item
	fails   bool // something was said to have failed
	delays  bool // or to be late
	current int  // the item that lines now are about; -1 for none
}

// only makes named the recipients, with the reasons that were found for them.
func (r *reader) only(named []string) {
	items := make([]item, 0, len(named))
	for _, a := range named {
		it := item{addr: a}
		for _, found := range r.items {
			if strings.EqualFold(found.addr, a) || strings.EqualFold(found.final, a) {
				it = found
			}
		}
		items = append(items, it)
	}
	r.items = items
}

// paragraphs reads lines between empty ones as one sentence or list.
func (r *reader) paragraphs(text string) {
	active, late := false, false
	var lines []string
	end := func() {
		if len(lines) == 0 {
			return
		}
		flat := flatten(strings.Join(lines, " "))
		from := 0
		// Which phrase came last decides for what follows it.
		f, d := lastPhrase(flat, failed), lastPhrase(flat, delayed)
		if f >= 0 || d >= 0 {
			if !active {
				from = firstLineWith(lines)
			}
			active, late = true, d >= f // at the same place it is "not yet delivered"
			r.fails, r.delays = r.fails || f > d, r.delays || d >= f
			r.current = -1
		}
		before := len(r.items)
		if active {
			r.list(lines[from:], late)
		}
		if (f >= 0 || d >= 0) && len(r.items) == before && (!r.strict || r.back) {
			r.inSentence(lines, late)
		}
		lines = lines[:0]
	}
	active = r.always
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		if n := len(lines); n > 0 && wrapped(lines[n-1], line) {
			lines[n-1] += strings.TrimSpace(line)
		} else if n < 500 {
			lines = append(lines, line)
		}
	}
	end()
}

// wrapped tells whether an address in angle brackets goes on in the next line.
func wrapped(line, next string) bool {
	open := strings.LastIndexByte(line, '<')
	if open < 0 || len(line) > 500 || strings.ContainsAny(line[open:], "> \t") {
		return false
	}
	end := strings.IndexByte(next, '>')
	return end > 0 && strings.Contains(line[open:]+next[:end], "@") && !strings.ContainsAny(strings.TrimLeft(next[:end], " \t"), "< \t")
}

// firstLineWith is the line with which the paragraph's phrase begins, as far as can be
// told; 0 if it is over several.
func firstLineWith(lines []string) int {
	for i, line := range lines {
		flat := flatten(line)
		if contains(flat, failed) || contains(flat, delayed) {
			return i
		}
	}
	return 0
}

func lastPhrase(flat string, phrases []string) int {
	last := -1
	for _, p := range phrases {
		if i := strings.LastIndex(flat, p); i >= 0 {
			last = max(last, i+len(p))
		}
	}
	return last
}

// list reads lines that may be items of a list of recipients, or reasons.
func (r *reader) list(lines []string, late bool) {
	for _, raw := range lines {
		line := strings.TrimSpace(raw)
		if m := expanded().FindStringSubmatch(line); m != nil {
			own := atStart().MatchString(line)
			if own || r.current < 0 {
				r.item(m[1], line, late)
			} else if r.current >= 0 && r.usable(m[1]) {
				r.items[r.current].addr, r.items[r.current].final = m[1], r.items[r.current].addr
			}
			continue
		}
		if addr := leading(line); addr != "" && r.item(addr, line, late) {
			for _, more := range others(line) {
				r.item(more, line, late)
			}
			continue
		}
		if m := tagged().FindStringSubmatch(line); m != nil && r.item(m[1], line, late) {
			continue
		}
		if m := labelled().FindStringSubmatchIndex(line); m != nil && !r.named && !notRecipient().MatchString(line[:m[2]]) && r.item(line[m[2]:m[3]], line, late) {
			r.more(line, m[3], late)
			continue
		}
		if r.current >= 0 && len(r.items[r.current].why) < 20 {
			r.items[r.current].why = append(r.items[r.current].why, line)
		}
	}
}

// leading is the address that a line begins with as an item of a list; "" if it does not.
func leading(line string) string {
	m := atStart().FindStringSubmatchIndex(line)
	if m == nil || !afterItem().MatchString(line[m[1]:]) {
		return ""
	}
	return line[m[2]:m[3]]
}

// others are the further addresses of a line that is nothing but addresses.
func others(line string) []string {
	found := anyAddress().FindAllString(line, 50)
	rest := anyAddress().ReplaceAllString(line, "")
	if len(found) < 2 || strings.ContainsFunc(rest, func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }) {
		return nil
	}
	return found[1:]
}

// inX400 stands before an address of the Internet in one of X.400.
const inX400 = "smtp="

// item makes addr the recipient that the lines are now about.
func (r *reader) item(addr, line string, late bool) bool {
	addr = strings.TrimRight(addr, ".")
	if len(addr) > len(inX400) && strings.EqualFold(addr[:len(inX400)], inX400) {
		addr = addr[len(inX400):]
	}
	if !r.usable(addr) {
		return false
	}
	why := strings.TrimSpace(strings.ReplaceAll(line, addr, ""))
	for i := range r.items {
		if strings.EqualFold(r.items[i].addr, addr) {
			r.current = i
			if len(r.items[i].why) < 20 {
				r.items[i].why = append(r.items[i].why, why)
			}
			r.items[i].delayed = r.items[i].delayed && late
			return true
		}
	}
	if len(r.items) >= maxRecipients {
		return false
	}
	r.items = append(r.items, item{addr: addr, why: []string{why}, delayed: late})
	r.current = len(r.items) - 1
	return true
}

// usable tells whether addr can be a recipient at all.
func (r *reader) usable(addr string) bool {
	a, err := address.Parse(strings.TrimRight(addr, "."))
	if err != nil || r.ours[a.Key()] {
		return false
	}
	for _, n := range nobodys {
		if strings.EqualFold(a.Local, n) {
			return false
		}
	}
	return true
}

// inSentence finds the recipient of a sentence that says that something failed.
func (r *reader) inSentence(lines []string, late bool) {
	flat := strings.TrimSpace(blank().ReplaceAllString(strings.Join(lines, " "), " "))
	found := false
	for _, m := range sentence().FindAllStringSubmatchIndex(flat, 20) {
		if notRecipient().MatchString(flat[m[0]:m[2]]) {
			continue
		}
		found = r.item(flat[m[2]:m[3]], flat, late) || found
		r.more(flat, m[3], late)
	}
	if found {
		return
	}
	if r.named || r.strict {
		return
	}
	if one := r.single(lines); one != "" {
		r.item(one, flat, late)
	}
}

// more takes the addresses that follow one that ends at an offset of a text.
func (r *reader) more(text string, at int, late bool) {
	for {
		m := further().FindStringSubmatchIndex(text[at:])
		if m == nil || !r.item(text[at+m[2]:at+m[3]], text, late) {
			return
		}
		at += m[3]
	}
}

// single is the only address of some lines that can be a recipient; "" if there are more.
func (r *reader) single(lines []string) string {
	one := ""
	for _, line := range lines {
		for _, at := range anyAddress().FindAllStringIndex(line, 20) {
			a := strings.TrimRight(line[at[0]:at[1]], ".")
			if !r.usable(a) || notRecipient().MatchString(line[:at[0]]) || fromWord().MatchString(line[:at[0]]) {
				continue
			}
			if one != "" && !strings.EqualFold(one, a) {
				return ""
			}
			one = a
		}
	}
	return one
}

// fallback is for texts in no known form: the SMTP dialogue, or the one address that is
// there at all.
func (r *reader) fallback(text string) {
	r.dialogue(text)
	for _, m := range tagged().FindAllStringSubmatch(text, maxRecipients) {
		r.item(m[1], "", false)
	}
	if len(r.items) == 0 {
		lines := strings.Split(text, "\n")
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if m := labelled().FindStringSubmatch(line); m != nil && !notRecipient().MatchString(line[:strings.Index(line, m[1])]) {
				r.item(m[1], "", false)
			}
		}
		if len(r.items) == 0 {
			if one := r.single(lines); one != "" {
				r.item(one, "", false)
			}
		}
	}
	for i := range r.items {
		r.items[i].why = []string{mentions(text, r.items[i].addr)}
	}
}

// dialogue reads whom commands and replies of SMTP name.
func (r *reader) dialogue(text string) {
	for _, form := range []*regexp.Regexp{command(), answered()} {
		for _, m := range form.FindAllStringSubmatch(text, maxRecipients) {
			if r.item(m[1], "", false) {
				r.items[r.current].why = []string{mentions(text, m[1])}
			}
		}
	}
}

var bareName = pattern(`^\s+([A-Za-z0-9._-]{2,40})\s*$`)

// barenames reads AOL's own list of screen names, which leaves the domain out.
func (r *reader) barenames(m *mail, text string) {
	from := firstFrom(m)
	if !strings.HasSuffix(from, "@aol.com") || !strings.Contains(flatten(text), "following recipients") {
		return
	}
	for line := range strings.Lines(text) {
		if n := bareName().FindStringSubmatch(strings.TrimRight(line, "\n")); n != nil {
			r.item(n[1]+"@aol.com", "", false)
		}
	}
}

// firstFrom is the first address of From.
func firstFrom(m *mail) string {
	for _, box := range m.header.Mailboxes("From") {
		return strings.ToLower(box.Address)
	}
	return ""
}

// mentions are the lines that name an address, and the one before and after each.
func mentions(text, addr string) string {
	var out []string
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.Contains(strings.ToLower(line), strings.ToLower(addr)) {
			out = append(out, lines[max(i-1, 0):min(i+3, len(lines))]...)
		}
		if len(out) > 40 {
			break
		}
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(out, " "), addr, "")), " ")
}

func isAddress(s string) bool {
	_, err := address.Parse(s)
	return err == nil
}
