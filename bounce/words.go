package bounce

// What is looked for in the lines of a text: addresses, and what stands around those of recipients. phrases.go has the
// phrases that say that something failed or is late.

import "strings"

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
