package bounce

import (
	"strings"

	"github.com/mlist/mlist/internal/address"
)

// statusText reads a delivery status that stands in a part of another type, as some MTAs
// and many gateways leave it.
func (m *mail) statusText(report *Report) bool {
	texts := []string{m.text()}
	for _, p := range m.parts {
		if returnedTypes[p.Type] {
			break
		}
		if p.Type == "application/octet-stream" {
			texts = append(texts, toUTF8(m.content(p), ""))
		}
	}
	for _, text := range texts {
		said, _ := cutReturned(text)
		at := statusStart().FindStringIndex(said)
		if at != nil && statusFields().MatchString(said[at[0]:]) {
			parseStatus([]byte(said[at[0]:]), report)
		}
	}
	return len(report.Recipients) > 0
}

var (
	statusStart  = pattern(`(?im)^(Reporting-MTA|Final-Recipient|Original-Recipient)[ \t]*:`)
	statusFields = pattern(`(?im)^(Action|Status|Diagnostic-Code)[ \t]*:`)
)

// saysFailed tells whether the text, or the subject, says that something was not delivered.
func (m *mail) saysFailed() bool {
	said, _ := cutReturned(m.text())
	flat := flatten(said)
	return m.failedSubject() || contains(flat, failed) || contains(flat, delayed)
}

// namesAnybody tells whether there is an address in the text.
func (m *mail) namesAnybody() bool {
	said, _ := cutReturned(m.text())
	return anyAddress().MatchString(said)
}

// freeText reads what an MTA says in words: a phrase that something failed or is late, and
// then those whom it is about, one a line; or one of them within a sentence.
func (m *mail) freeText(report *Report) bool {
	said, _ := cutReturned(m.text())
	subject := strings.ToLower(m.header.Text("Subject"))
	ours, authors := m.ours()
	for _, c := range asked().FindAllStringSubmatch(blank().ReplaceAllString(said, " "), 20) {
		if a, err := address.Parse(strings.TrimRight(c[1], ".")); err == nil {
			ours[a.Key()] = true
		}
	}
	r := &reader{ours: ours, current: -1, strict: m.doubtful()}
	r.back = m.nullPath() && m.attached() != nil
	warning := contains(subject, lateSubjects) || contains(flatten(said), onlyLate)

	if r.strict && !m.returned().Has("Message-ID") && !m.returned().Has("Subject") && !reply().MatchString(said) && !enhanced().MatchString(said) {
		return false // somebody's autoresponder, most likely: it neither brings the mail back nor says what the far end said
	}
	r.paragraphs(said)
	if !r.fails && !r.delays && !m.failedSubject() && !m.header.Has("X-Failed-Recipients") {
		// In a language that is not known the reply of the far end tells, and who writes.
		if r.strict || !m.nullPath() || !replied().MatchString(said) {
			return false
		}
		r.always, r.named, r.fails = true, true, true
		r.paragraphs(said)
		if len(r.items) == 0 {
			return false
		}
	}
	late := warning || r.delays && !r.fails
	if named := m.failedRecipients(); len(named) > 0 {
		r.only(named)
	}
	if len(r.items) == 0 && !r.strict {
		r.fallback(said)
	} else if len(r.items) == 0 && m.attached() != nil && reply().MatchString(said) {
		r.dialogue(said)
	}
	if len(r.items) == 0 && !r.strict {
		if one := r.single([]string{m.header.Text("Subject")}); one != "" {
			r.items = append(r.items, item{addr: one})
		}
	}
	if len(r.items) == 0 {
		// Who wrote the message that came back may be the one whom it did not reach, too.
		for key := range authors {
			delete(r.ours, key)
		}
		r.named = true
		r.paragraphs(said)
	}
	if len(r.items) == 0 && !r.strict {
		if named, ok := m.returnPath(); ok {
			r.items = append(r.items, item{addr: named.String()})
		}
	}
	if len(r.items) == 0 && !r.strict {
		r.barenames(m, said)
	}
	if len(r.items) == 0 && !r.strict {
		if to := m.sentToOne(); to != "" && r.usable(to) && !anyAddress().MatchString(said) {
			r.items = append(r.items, item{addr: to})
		}
	}
	permanent := permanentWords().MatchString(flatten(said))
	whole := strings.Join(strings.Fields(said), " ")
	if len(r.items) == 0 && !r.strict {
		report.add(inText("", whole, late, permanent))
	}
	for _, it := range r.items {
		if len(report.Recipients) >= maxRecipients {
			break
		}
		why := strings.TrimSpace(strings.Join(it.why, " "))
		if len(r.items) == 1 && !reply().MatchString(why) && !enhanced().MatchString(why) && (reply().MatchString(whole) || !tells(why)) {
			why = strings.TrimSpace(why + " " + whole)
		} else if why == "" {
			why = mentions(said, it.addr)
		}
		if code := reply().FindStringSubmatch(why); it.delayed && !late && code != nil && code[1] == "5" {
			it.delayed = false // the list has both who failed and who is late
		}
		report.add(inText(it.addr, why, late || it.delayed, permanent))
	}
	return len(report.Recipients) > 0
}

// explain adds to what a report says of recipients what only the text beside it has: the
// reason, and which address the sender wrote that led to the one of the report.
func (m *mail) explain(report *Report) {
	said, _ := cutReturned(m.text())
	led := expanded().MatchString(said)
	var r *reader
	for i := range report.Recipients {
		x := &report.Recipients[i]
		wanted := x.Diagnostic == "" || x.Class == ClassUnknown
		if !x.Failed() && !x.Delayed() || !wanted && !led {
			continue
		}
		if r == nil {
			r = &reader{current: -1}
			r.paragraphs(said)
		}
		for _, it := range r.items {
			if x.Address == x.Final && strings.EqualFold(it.final, x.Final) {
				x.Address = it.addr
			}
		}
		if !wanted {
			continue
		}
		why := ""
		for _, it := range r.items {
			if strings.EqualFold(it.addr, x.Address) || strings.EqualFold(it.addr, x.Final) || strings.EqualFold(it.final, x.Final) {
				why = strings.TrimSpace(strings.Join(it.why, " "))
			}
		}
		if at := reply().FindStringIndex(said); why == "" && at != nil && len(report.Recipients) == 1 {
			why = strings.Join(strings.Fields(said[at[0]:]), " ")
		}
		if why == "" {
			continue
		}
		if x.Diagnostic == "" {
			x.Diagnostic = clean(why)
		}
		if status := statusInText(why, x.Action == "delayed", false); strings.HasSuffix(x.Status, ".0.0") && enhanced().MatchString(why) && status[0] == x.Status[0] {
			x.Status = status
		}
		if class := Classify(x.Status, why); x.Class == ClassUnknown {
			x.Class = class
		}
	}
}

// sentToOne is to whom the message went that came back, if it was no list's: who gets the
// bounce wrote it himself, to one address.
func (m *mail) sentToOne() string {
	h := m.returned()
	if h.Has("List-Id") || h.Has("List-Post") || h.Has("Mailing-List") || h.Has("X-BeenThere") || h.Has("Cc") {
		return ""
	}
	to, from := h.Mailboxes("To"), h.Mailboxes("From")
	if len(to) != 1 || len(from) != 1 {
		return ""
	}
	for _, box := range m.header.Mailboxes("To") {
		if strings.EqualFold(box.Address, from[0].Address) {
			return to[0].Address
		}
	}
	return ""
}

// doubtful tells whether a person may have written the message after all: only what is plain
// counts then.
func (m *mail) doubtful() bool {
	if m.header.Has("X-Failed-Recipients") || m.failedSubject() || m.reportType() == "delivery-status" {
		return false
	}
	for _, box := range m.header.Mailboxes("From") {
		if isDaemon(box.Address) {
			return false
		}
	}
	if !m.systemFrom() {
		return true
	}
	auto := strings.ToLower(firstWord(m.header.Get("Auto-Submitted")))
	return m.header.Has("Return-Path") && !m.nullPath() && !strings.HasPrefix(auto, "auto-")
}

// inText is what became of a recipient according to words.
func inText(addr, why string, late, permanent bool) Recipient {
	r := Recipient{Address: addr, Final: addr, Action: "failed", Diagnostic: clean(why)}
	if late {
		r.Action = "delayed"
	}
	r.Status = statusInText(why, late, permanent)
	return r
}

// failedRecipients are those that Exim, and others, name in a field of the header.
func (m *mail) failedRecipients() []string {
	var out []string
	for _, v := range m.header.Values("X-Failed-Recipients") {
		out = append(out, anyAddress().FindAllString(v, maxRecipients)...)
	}
	return out
}
