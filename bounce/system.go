package bounce

import (
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// systemSenders are local parts under which mail systems write; their "-", "_" and "."
// are left out.
var systemSenders = []string{
	"mailerdaemon", "postmaster", "mailerdemon", "maildaemon", "mdaemon", "daemon", "maildelivery", "maildeliverysystem",
	"maildeliverysubsystem", "mailmaster", "mailadmin", "mailadministrator", "mailsystem", "mailserver", "mailer", "smtp",
	"smtpd", "systemadministrator", "bouncehandler", "deliverysubsystem", "deliverystatus",
	"nondelivery", "ndr", "dsn", "mta", "mxdaemon", "interscan", "mailmarshal", "mailgateway", "mimesweeper",
	"internetmaildelivery", "pmdf", "uucp", "masmailer", "autoreplymailer", "imss",
}

// daemons are those of them under which no person writes.
var daemons = []string{
	"mailerdaemon", "mailerdemon", "maildaemon", "mdaemon", "daemon", "mxdaemon", "maildeliverysystem", "maildeliverysubsystem",
	"deliverysubsystem", "bouncehandler", "interscan", "imss", "pmdf", "masmailer",
}

// shared are local parts under which mail systems write, and people too: the subject
// decides.
var shared = []string{"admin", "administrator", "bounce", "bounces", "antivirus", "virusadmin", "noreply", "donotreply", "root", "support", "notification", "notifications", "nobody", "webmaster", "hostmaster", "info"}

// systemNames are display names of mail systems, in part.
var systemNames = []string{
	"mail delivery", "mailer-daemon", "mailer daemon", "mail daemon", "mail delivery subsystem", "mail delivery system", "system administrator", "systemadministrator",
	"postmaster", "mail administrator", "mail system", "internet mail delivery", "delivery subsystem", "microsoft outlook",
	"microsoft exchange", "mail router", "administrateur système", "administrador del sistema", "systemadministratör",
	"amministratore di sistema", "mail transfer", "mail service", "non-delivery", "mail returned", "mxlogic", "mail gateway",
}

// failedSubjects begin, or are, the subject of a bounce.
var failedSubjects = []string{
	"undeliver", "un-deliver", "returned mail", "mail delivery", "delivery status notification", "delivery notification", "delivery report", "delivery failure",
	"delivery has failed", "delivery failed", "failure notice", "mail system error", "mail failure", "message undeliverable", "nondeliverable", "non deliverable",
	"non-delivery", "nondelivery", "message status", "undelivered", "failed mail", "failed delivery", "delivery error", "delivery problem", "mail not delivered",
	"message not delivered", "message could not be delivered", "could not deliver", "cannot deliver", "unable to deliver", "bounce", "mail error", "error sending", "warning: could not send",
	"warning: message", "message delivery", "mail delivery failed", "permanent delivery", "transient delivery", "mail could not", "mail undeliverable", "dead mail", "nonexistent",
	"unzustellbar", "nicht zustellbar", "unzustellbare", "fehler bei der zustellung", "nachricht nicht zugestellt", "zustellung", "mail konnte nicht",
	"non remis", "non distribuable", "échec de la remise", "échec de remise", "message non délivré", "notification d'état de remise", "retour de courrier", "non distribué",
	"no se puede entregar", "no entregado", "correo no entregado", "mensaje no entregado", "error de entrega", "notificación de estado de entrega", "no se ha podido entregar",
	"non recapitabile", "messaggio non recapitato", "mancato recapito", "impossibile recapitare", "notifica sullo stato del recapito", "mancata consegna",
	"não é possível entregar", "não entregue", "mensagem não entregue", "falha na entrega", "notificação de status de entrega",
	"onbestelbaar", "niet bezorgd", "niet afgeleverd", "kan niet worden bezorgd",
	"går inte att leverera", "kan inte levereras", "kan ikke leveres", "kunne ikke leveres", "ikke levert", "olevererbart", "ei voitu toimittaa", "ei voi toimittaa",
	"nie można dostarczyć", "niedostarczalne", "niedostarczono", "zwrot", "nelze doručit", "nedoručitelné", "nedoručené", "kézbesíthetetlen",
	"недоставленное", "не удается доставить", "не удалось доставить", "не доставлено", "сообщение не доставлено", "недоставлено",
	"配信不能", "配信エラー", "配信できません", "配信失敗", "未配信", "エラーメール", "メールの配信", "配送不能",
	"系统退信", "退信", "无法送达", "未送达", "無法傳遞", "退件", "传递失败", "无法传递", "邮件退回", "传送失败",
	"メールエラー", "メールを配信でき", "メッセージを配信でき", "メール配信エラー", "メール送信エラー", "エラー通知", "送信エラー",
	"δεν είναι δυνατή η παράδοση", "αδύνατη παράδοση", "לא ניתן למסירה", "غير قابل للتسليم", "تعذر التسليم", "nelivrabil", "neisporučivo", "nije isporučeno", "ni mogoče dostaviti", "nepristatoma", "nepiegādājams", "no es pot lliurar", "không gửi được", "ไม่สามารถส่ง", "tidak dapat dikirim", "tidak terkirim",
	"배달되지 않음", "전송 실패", "배달 실패", "반송", "teslim edilemedi", "iletilemedi",
}

// notFailures are in the subjects of what mail systems write that is no bounce.
var notFailures = []string{
	"(success)", "success notif", "delivered:", "relayed:", "read:", "gelesen:", "lu :", "leído:", "letto:", "(relay)", "(expand", "successful mail delivery",
	"postfix smtp server: errors from", "virus found", "quarantine", "daily ", "weekly ", "statistics", "logwatch", "cron ", "spam digest", "spam report", "delivery report (success)", "expanded:", "übermittelt:",
}

// fromSystem tells whether a mail system wrote the message, or something that says so.
func (m *mail) fromSystem() bool {
	subject := strings.ToLower(strings.TrimSpace(m.header.Text("Subject")))
	for _, s := range notFailures {
		if strings.Contains(subject, s) {
			return false
		}
	}
	if m.header.Has("X-Failed-Recipients") {
		return true
	}
	if m.nullPath() || m.systemFrom() {
		return true
	}
	// Else it may be one if it says so and brings the message back, or the mail system says
	// that no person wrote it.
	auto := strings.ToLower(firstWord(m.header.Get("Auto-Submitted")))
	return m.failedSubject() && (m.returned().Has("Message-ID") || m.returned().Has("Subject") || strings.HasPrefix(auto, "auto-"))
}

// nullPath tells whether the reverse-path is the null one, or that of a daemon: where an MTA
// on the way writes its own name for it.
func (m *mail) nullPath() bool {
	path := m.header.Values("Return-Path")
	if len(path) == 0 {
		return false
	}
	bare := strings.Trim(path[0], " <>")
	return bare == "" || isDaemon(bare)
}

// isDaemon tells whether nobody but a mail system writes under an address.
func isDaemon(addr string) bool {
	local := bareLocal(addr)
	return slices.Contains(daemons, local) || strings.HasPrefix(local, "mailerdaemon")
}

// bareLocal is the local part of an address, as the tables above have it.
func bareLocal(addr string) string {
	local := strings.ToLower(addr)
	if at := strings.LastIndexByte(local, '@'); at >= 0 {
		local = local[:at]
	}
	local, _, _ = strings.Cut(local, "+")
	return strings.NewReplacer("-", "", "_", "", ".", "", " ", "", `"`, "").Replace(local)
}

// systemFrom tells whether From is a mail system.
func (m *mail) systemFrom() bool {
	from := message.ParseMailboxes(m.header.Get("From"))
	raw := strings.ToLower(m.header.Text("From"))
	if len(from) == 0 && m.header.Has("From") {
		for _, n := range systemNames {
			if strings.Contains(raw, n) {
				return true
			}
		}
	}
	for _, box := range from {
		local := bareLocal(box.Address)
		if slices.Contains(systemSenders, local) || slices.Contains(shared, local) && m.failedSubject() {
			return true
		}
		if strings.HasPrefix(local, "microsoftexchange") || strings.HasPrefix(local, "mailerdaemon") || strings.HasPrefix(local, "postmaster") {
			return true
		}
		for _, n := range systemNames {
			if strings.Contains(strings.ToLower(box.Name), n) {
				return true
			}
		}
	}
	return len(from) == 0 && (strings.Contains(raw, "mailer-daemon") || strings.Contains(raw, "<>"))
}

func (m *mail) failedSubject() bool {
	subject := strings.ToLower(strings.Trim(m.header.Text("Subject"), " *!:[]-\t"))
	for _, s := range failedSubjects {
		if strings.HasPrefix(subject, s) {
			return true
		}
	}
	return false
}

// challengers are services that ask senders to prove themselves, some of them in the form of a
// delivery status.
var challengers = []string{"boxbe.com", "spamarrest.com", "bluebottle.com", "mailblocks.com", "0spam.com", "0spam.info", "sendio.com", "tmda.net"}

// challenge tells whether the message asks to be answered before the other one is delivered.
func (m *mail) challenge() bool {
	for _, box := range m.header.Mailboxes("From", "Sender", "Return-Path") {
		if _, domain, ok := strings.Cut(strings.ToLower(box.Address), "@"); ok && slices.Contains(challengers, domain) {
			return true
		}
	}
	return m.header.Has("X-TMDA-Fingerprint") && !m.systemFrom()
}

// refusedBySieve tells whether a receipt says that the message was not even filed: LDAs and
// the reject of Sieve (RFC 5429) answer so, in the name of the mail system.
func (m *mail) refusedBySieve() bool {
	auto := strings.ToLower(m.header.Get("Auto-Submitted"))
	if !m.systemFrom() || !strings.HasPrefix(auto, "auto-replied") || !strings.Contains(auto, "reject") {
		return false
	}
	for _, p := range m.parts {
		if strings.HasSuffix(p.Type, "disposition-notification") {
			return strings.Contains(strings.ToLower(string(m.content(p))), "mdn-sent-automatically; deleted")
		}
	}
	return false
}

// autoSubjects begin the subject of what an autoresponder writes.
var autoSubjects = []string{
	"out of office", "out of the office", "out-of-office", "autoreply", "auto-reply", "auto reply", "automatic reply", "auto:", "automatic response", "auto response", "autoresponse", "auto-response",
	"vacation", "on vacation", "away from", "i am away", "i'm away", "on holiday", "on leave", "thank you for", "your message has been received", "we have received", "ticket", "[ticket", "your ticket",
	"abwesenheit", "automatische antwort", "abwesend", "nicht im büro", "urlaub", "autom. antwort", "eingangsbestätigung",
	"réponse automatique", "absence", "absent", "absence du bureau", "message d'absence",
	"respuesta automática", "fuera de la oficina", "ausencia", "autorespuesta",
	"risposta automatica", "fuori sede", "fuori ufficio", "assenza",
	"resposta automática", "fora do escritório", "ausência",
	"automatisch antwoord", "afwezig", "automatische beantwoording", "afwezigheid",
	"autosvar", "automatiskt svar", "frånvaro", "fraværende", "fravær", "poissa", "automaattinen vastaus",
	"automatyczna odpowiedź", "autoodpowiedź", "automatická odpověď", "nieobecność", "автоответ", "автоматический ответ", "отсутствие", "вне офиса",
	"自動応答", "自動返信", "不在", "自动回复", "自動回覆", "自動回复", "자동 회신", "부재중", "otomatik yanıt",
	"please confirm", "confirm your", "challenge", "action required: confirm", "your message requires", "message awaiting", "message held",
}

// autoReply tells whether an autoresponder wrote the message, and not an MTA. Both use the
// null reverse-path, and both may say Auto-Submitted: auto-replied.
func (m *mail) autoReply() bool {
	for _, field := range []string{"X-Autoreply", "X-Auto-Reply", "X-Autorespond", "X-Autoresponder", "X-Auto-Response", "X-Mail-Autoreply", "X-Vacation", "X-Autoreply-From", "X-Autogenerated-Reply"} {
		if value := strings.ToLower(m.header.Get(field)); value != "" && value != "no" {
			return true
		}
	}
	if strings.Contains(strings.ToLower(m.header.Get("Auto-Submitted")), "vacation") || strings.Contains(strings.ToLower(m.header.Get("Precedence")), "auto_reply") {
		return true
	}
	subject := strings.ToLower(strings.Trim(m.header.Text("Subject"), " *!:[]-\t"))
	for _, s := range autoSubjects {
		if strings.HasPrefix(subject, s) {
			return true
		}
	}
	if m.systemFrom() {
		return false
	}
	// A person's address answers: autoresponders do so with the null reverse-path.
	for _, s := range []string{"re:", "aw:", "sv:", "antw:", "odp:", "res:", "rif:", "回复", "答复"} {
		if strings.HasPrefix(subject, s) {
			return true
		}
	}
	return false
}
