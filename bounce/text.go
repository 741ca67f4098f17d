package bounce

import (
	"regexp"
	"strings"
	"unicode"

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
	headerLine   = pattern(`^[A-Za-z][A-Za-z0-9-]*:([^/]|$)`)
	// returnedLine is a line that says that the message, or its header, follows.
	returnedLine = pattern(`(?i)^[ \t]*(` +
		`[-=_*+|>#]{2,}.*\b(original|returned|unsent|undelivered|bounced) ((e-?)?mail )?message\b|` +
		`[-=_*+|>#]{2,}.*\b(message header|message text|returned mail|original mail|mail header|header of|headers of|copy of|message body|message content|begin message|start of message|returned content)|` +
		`[-=_*+|>#]{2,} *(message|header|headers|original)( follows)?[ :.]*[-=_*+|>#]{2,}|` +
		`[-=_*+|>#]{2,}.*(ursprüngliche|originalnachricht|message d.origine|message original|mensaje original|messaggio originale|mensagem original|oorspronkelijk|исходное|原始邮件|原邮件|元のメッセージ|原メール)|` +
		`.*\b(original|returned|unsent) message( is| headers?)?( follows| attached| below)[ :.]*$|` +
		`((below this line|below|the following|following|this|here|attached|enclosed|appended)( is| are)? )?((an?|the|initial|first) )*(copy|headers?|contents?|text|part|beginning) of (your|the) ((original|returned|undelivered) )?(e-?mail|message)( \(.*\))?([ ,](follows|is attached|is included|is below|including.*|below))?[ :.]*$|` +
		`message headers? follows?[ :.]*$|` +
		`.*(below|following) (this line )?is (a|the) copy of|` +
		`(original|returned) (message|mail|headers?)[ :.]*$)`)
)

// cutReturned divides a text where the message that comes back begins.
func cutReturned(text string) (said, returned string) {
	at, headers, start := 0, 0, 0
	returnedSeen := false
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\n")
		if returnedLine().MatchString(bare) && !statusStart().MatchString(bare) {
			return text[:at], text[at+len(line):]
		}
		inner := strings.TrimLeft(bare, ">|")
		if inner != bare { // quoted
			inner = strings.TrimPrefix(inner, " ")
		}
		switch {
		case headerLine().MatchString(inner):
			if headers == 0 {
				start, returnedSeen = at, false
			}
			headers++
			name, _, _ := strings.Cut(strings.ToLower(inner), ":")
			switch name {
			case "received", "message-id", "return-path", "mime-version", "dkim-signature", "x-mailer", "content-type":
				returnedSeen = true
			}
			if headers >= 3 && returnedSeen {
				return text[:start], text[start:]
			}
		case headers > 0 && bare != "" && (bare[0] == ' ' || bare[0] == '\t'):
			// the fold of a field
		default:
			headers = 0
		}
		at += len(line)
	}
	return text, ""
}

const (
	// quotedLocal is a local part in quotes, which may have blanks.
	quotedLocal = `"[^"@\s](?:[^"@\r\n]{0,62}[^"@\s])?"`
	local       = `[\p{L}\p{N}!#$%&'*+/=?^_{}~.-]+`
	domain      = `[\p{L}\p{N}](?:[\p{L}\p{N}_-]*[\p{L}\p{N}])?(?:\.[\p{L}\p{N}](?:[\p{L}\p{N}_-]*[\p{L}\p{N}])?)+`
	addr        = `(?:` + quotedLocal + `|` + local + `)@` + domain
)

var (
	anyAddress = pattern(addr)
	// atStart is a line that begins with an address, and afterItem what may stand behind it: an
	// item of a list of recipients. Apart, so that no address is cut short to fit.
	atStart   = pattern(`^(?:[-*>•·+|#]+\s*|\d+[.)]\s+)?(?:\(?(?:smtp|mailto|rfc822)[:; ]\s*)?[<\["'(“«]*(` + addr + `)`)
	afterItem = pattern(`(?i)^[>\]"')”»]*\s*(?:$|[<:;,|=–—]|-|\.+(?:\s|$)|\(|\[|\t|\s(?:on|am|le|el|il|em|at|:|-|–|\.\.\.|…|is|was|has|does|could|cannot|user|unknown|invalid|not|failed|mailbox|no|smtp|host|error|because|因|，)|\s{2,}|\s\d{3}[ -])`)
	// labelled is a line that says of whom it is.
	labelled = pattern(`(?i)^[-*•\s]*(?:\w+ )?(?:failed|final|original|intended|invalid|undeliverable|bad|unknown|rejected|bounced|failing)?[ -]?` +
		`(?:recipients?|receivers?|address(?:es)?|recipient address(?:es)?|receiver address|e-?mail address|recipient e-?mail|rcpt to|rcpt|mailbox|user|username|users?|userid|delivery userid|local user|to|for|account|member|` +
		`empfänger|empfängeradresse|adresse|destinataire|adresse du destinataire|destinatarios?|dirección|indirizzo|destinatário|endereço|geadresseerde|ontvanger|mottagare|modtager|mottaker|vastaanottaja|adresat|odbiorca|příjemce|получатель|адрес|кому|` +
		`宛先|受信者|送信先|メールアドレス|收件人|收信人|收件人地址|收件人邮箱|收件者|收件地址|받는 사람|수신자|alıcı)(?:\(s\)|\(es\)|\(en\)|s)?\s*(?:[:=：]|is|was|ist)\s*[<\["']*(` + addr + `)`)
	// tagged finds recipients where the MTA wrote them for machines.
	tagged = pattern(`(?i)(?:\b(?:rcpt|recipient|to)\s*=\s*[\[<"']+|\bdda:smtp[=:])(` + addr + `)`)
	// command is the SMTP dialogue.
	command = pattern(`(?i)\brcpt to:\s*<?(` + addr + `)`)
	// replied is a reply that refuses, with its status.
	replied = pattern(`\b55\d[ -]#?5\.\d+\.\d+\b`)
	// answered is the reply in a transcript of Sendmail's, and asked is who is named to be asked.
	answered = pattern(`(?m)^\d{3} (?:\d\.\d+\.\d+ )?<(` + addr + `)>\.\.\. `)
	asked    = pattern(`(?i)\b(?:contact|assistance to|e-?mail to|write to|questions to|forward (?:it|this)[^@.]{0,20} to|kontaktieren sie|contactez|contattare) (?:the |your |our |us |at |to )*[<("'\[]*(` + addr + `)`)
	// expanded is the address behind an alias, as the sender wrote it.
	expanded = pattern(`(?i)\(?(?:expanded from|generated (?:from|by)|originally addressed to|original recipient)[: ]\s*<?(` + addr + `)`)
	// sentence is a recipient within a sentence.
	sentence = pattern(`(?i)(?:deliver\w*|undeliverable|reach|sent?|send|message|mail|e-mail|addressed|copy|msg|failed|attempts?:?)\s(?:[^.@]{0,60}?\s)?(?:to|for|reach)[: ]\s*(?:the )?(?:following )?(?:\w+ ){0,3}?[<\["'(]*(` + addr + `)`)
	// further is one more recipient behind another.
	further = pattern(`^[>\]"')]*\s*(?:,|;|&|\band\b|\bund\b|\bet\b|\by\b)\s*[<\["'(]*(` + addr + `)`)
	blank   = pattern(`\s+`)
)

// notRecipient begin or are in a line that names people to ask.
var notRecipient = pattern(`(?i)(contact|new (e-?mail )?address|neue adresse|nouvelle adresse|nueva dirección|nuovo indirizzo|https?://|mailto:|questions?|assistance|for help|helpdesk|further information|more information|if you (have|feel|believe)|please (send|write|forward|notify|e-?mail|mail)|kontakt|wenden sie sich|contactez|contacter|póngase en contacto|contatt|联系|お問い合わせ|reporting-mta|message-id|message id|from:|sender:|return-path|received:|reply-to|originator|absender|expéditeur|remitente|mittente|差出人|发件人|отправитель|final-recipient|original-recipient)`)

// fromWord stands before a sender.
var fromWord = pattern(`(?i)\b(from|by|von|durch|par|via)[: ]+[<\["'(]*$`)

// nobodys are local parts of those who are named in bounces and are not the recipient.
var nobodys = []string{"postmaster", "mailer-daemon", "mailmaster", "hostmaster", "abuse", "mailer_daemon"}

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

func flatten(s string) string {
	return strings.NewReplacer("’", "'", "‘", "'", "`", "'").Replace(strings.ToLower(strings.TrimSpace(blank().ReplaceAllString(s, " "))))
}

func contains(s string, phrases []string) bool {
	for _, p := range phrases {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

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
	from := message0(m)
	if !strings.HasSuffix(from, "@aol.com") || !strings.Contains(flatten(text), "following recipients") {
		return
	}
	for line := range strings.Lines(text) {
		if n := bareName().FindStringSubmatch(strings.TrimRight(line, "\n")); n != nil {
			r.item(n[1]+"@aol.com", "", false)
		}
	}
}

// message0 is the first address of From.
func message0(m *mail) string {
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
