package bounce

import (
	"regexp"
	"strings"
)

// Class says what kept a message from a recipient, as far as it matters to a list:
// whose fault it is.
type Class string

// Classes. Those of the recipient are ClassMailbox and ClassFull; ClassPolicy, ClassContent and
// ClassDMARC blame the message or the site that sent it; ClassRate and ClassNetwork pass.
const (
	ClassMailbox Class = "mailbox" // there is no such address, or it takes no mail any more
	ClassFull    Class = "full"    // its mailbox is full
	ClassPolicy  Class = "policy"  // the far end does not want mail of this sender or site
	ClassContent Class = "content" // it does not want this message: spam, a virus, too large
	ClassDMARC   Class = "dmarc"   // the author's domain does not allow it
	ClassRate    Class = "rate"    // too much at once; greylisting
	ClassNetwork Class = "network" // the far end was not reached
	ClassUnknown Class = "unknown"
)

// Blameless tells whether the class says nothing about the recipient's address: the message,
// or the site, was refused.
func (c Class) Blameless() bool {
	return c == ClassPolicy || c == ClassContent || c == ClassDMARC || c == ClassRate
}

// clue is a text that tells the class.
type clue struct {
	class  Class
	detail string // subject and detail of the status that goes with it
	text   func() *regexp.Regexp
}

func clues(class Class, detail string, words ...string) clue {
	return clue{class, detail, pattern(strings.Join(words, "|"))}
}

// byText are tried in order on the text in lower case: what is surer, and what others
// might be mistaken for, comes first.
var byText = []clue{
	clues(ClassDMARC, "7.1", `\bdmarc\b`, `5\.7\.26\b`, `5\.7\.515\b`, `5\.7\.509\b`, `\b5\.7\.9 message not accepted for policy reasons`, `aol will not accept delivery of this message`, `(does not|doesn't) meet the required authentication`, `unauthenticated (email|mail|message|sender)\b`, `does not have authentication information`, `fails to pass authentication`, `sender is unauthenticated`, `domain's (dmarc )?policy`, `\bthe sending domain .{0,40}(policy|authentication)`),
	clues(ClassFull, "2.2", `(user|mailbox|recipient|benutzer) (has|hat) (too many|zu ?viele) (messages|mails|e-?mails)`, `number of messages in .{0,20}mailbox exceed`, `quota( usage| limit)? (has been |was |is )?(exceeded|reached)`, `espacio .{0,40}agotado`, `(not have|not) enough space`, `\bfull (mailbox|inbox)`),
	clues(ClassRate, "7.0", `gr[ae]y-?list`, `rate[ -]?limit`, `too many (messages|connections|recipients|e-?mails|mails|requests|errors|concurrent|sessions)`, `throttl`, `\b4\.7\.28\b`, `\btss0\d`, `\bts0\d\b`, `unusual rate`, `(receiving|accepting) (mail|email|messages) (at a rate|too quickly)`, `at a rate that`, `temporarily (deferred|rate)`, `(sending|message|hourly|daily) (rate|limit|quota)s? (has been |was |is )?exceeded`, `exceeded .{0,30}(rate|sending|hourly|daily)`, `excessive (message|connection)`, `try again (later|in).{0,30}(gr|rate)`, `exceeded the (maximum|max) (number|rate)`, `high volume`, `reputation.{0,40}(temporar|defer|try again)`, `please slow down`, `frequency (is )?limit`, `receiving mail at a rate`, `resources temporarily unavailable`, `too many .{0,20}this hour`, `sent to too many recipients`, `(sending|relay|hourly|daily) (relay )?quota`, `quota.{0,30}relay`, `(server|system|service|host) (is )?(too |currently |very )?busy`, `too busy`),
	clues(ClassFull, "2.2", `(mailbox|mail ?box|inbox|account|user|maildir|mail ?file|storage|disk|recipient|quota|posteingang|postfach).{0,40}(is |are )?(full|over ?-?quota|overquota|exceeds? .{0,30}(quota|allowed size|size limit|storage))`, `(exceeded|exceeds|over|out of|exceed).{0,30}(storage|quota|disk space|mailbox size|space)`, `\bquota (exceed|violat|is full|reached|limit)`, `quota exceeded`, `overquota`, `over quota`, `mail(box|fold)er? full`, `insufficient (system )?(storage|disk space).{0,20}(mailbox|user|recipient)`, `not enough (storage|disk) space`, `\bmailbox size\b`, `size limit of (the|his|her|this|your) mailbox`, `4\.2\.2\b`, `5\.2\.2\b`, `speicherplatz`, `postfach (ist )?voll`, `boîte .{0,40}pleine`, `boite .{0,40}pleine`, `buzón .{0,30}llen`, `buzón lleno`, `casella .{0,30}piena`, `переполнен`, `превышен(а|о)? (квот|размер ящик)`, `容量(を|が|不足|超)`, `quota.{0,30}(überschritten|dépassé|superad|ultrapass|przekroczon|переви)`, `przepełnion`, `переповнен`, `(mailbox|postvak|postbus|brevlåda|postboks|postkasse|indbakke|innboks|schránka|skrzynka|posta kutusu|kotak|doboz|postilaatikko|θυρίδα).{0,40}(\bvol\b|\bfull\b|\bfyldt\b|\bfull\b|plná|pełna|\bdolu\b|\bpenuh\b|megtelt|täynnä|πλήρη)`, `caixa .{0,30}cheia`, `용량.{0,12}초과`, `いっぱい`, `邮箱已满`, `郵箱已滿`, `空间不足`, `信箱已滿`, `已满`),
	clues(ClassPolicy, "7.1", `reputation of the sending`, `(client host|\bip\b|ip address|adresse ip)( \S+){0,4} (is |was |has been |est )?(blocked|black-?listed|bloqu|block-?listed|listed in|listed by|listed on)`, `invalid ip for sending`, `insecure mail relay`, `open relay`, `groups\.google\.com`),
	clues(ClassContent, "7.1", `\bspam(my|ming)?\b.{0,40}(content|message|detected|score|rejected|filter|like|refused|found)`, `(detected|identified|considered|classified|rejected|blocked|looks like|appears to be|content|likely|suspected|marked|refused|flagged) (as |to be |for |an? |unsolicited )*(spam|junk|uce|ube|unsolicited)`, `spam ?signature`, `\breject\b.{0,60}\bspam\b`, `(due to|because of) spam\b`, `spam classification`, `smtputf8 is required`, `duplicate header`, `(missing|invalid|malformed|multiple) .{0,30}header`, `not (rfc ?\d+|compliant).{0,20}(compliant|rfc)`, `spam (detected|message|rejected|content|refused)`, `spam score`, `\bvirus\b`, `malware`, `infected`, `phishing`, `(illegal|forbidden|prohibited|dangerous|blocked) (attachment|file)`, `(attachment|file type|executable).{0,40}(not (allowed|accepted|permitted)|blocked|forbidden|prohibited|refused|rejected)`, `(message|size|mail|email).{0,30}(too (large|big)|exceeds .{0,40}(size|limit|maximum))`, `(exceeds|exceeded|larger than).{0,20}(fixed )?(maximum|max|size)( message)? ?(size|limit)?`, `(message|mail) size`, `content (was |is )?(rejected|denied|blocked|refused|filter|restriction|not accepted)`, `spam (firewall|filter)`, `rejected due to (its )?content`, `prohibited content`, `\bbanned (content|attachment)`, `bad header`, `5\.3\.4\b`, `5\.2\.3\b`, `objectionable`, `\bunacceptable content`, `message (was )?rejected .{0,30}(content|spam)`, `5\.6\.\d`, `taille .{0,30}(dépass|maximale)`, `nachricht .{0,20}zu groß`, `message contains`, `lines? too long`, `line (length )?limit`, `uri(bl| blacklist)`, `surbl`, `垃圾邮件`, `спам`),
	clues(ClassPolicy, "1.8", `after mail from`, `(in )?reply to (the )?mail from`, `unrout(e)?able sender`, `provide a valid from`, `mailfrom domain`, `sender('s)? .{0,40}(rejected|denied|refused|does not exist|doesn't exist|not found|verify|invalid|unknown)`, `(unable|cannot|could not) (to )?verify (the )?sender`),
	clues(ClassNetwork, "1.2", `nxdomain`, `domain name not found`, `domain \S+ (couldn't|could not|can't|cannot) be found`),
	clues(ClassNetwork, "4.1", `(: |delay reason: |^\W*)connection refused\W*($|by |delivery |no action)`),
	clues(ClassMailbox, "1.1", `user unknown`, `introuvable`, `not an? (active|valid|existing) (address|user|account|mailbox|recipient)`, `bad_recipient`, `no mailbox found`, `\) not unique`, `casilla .{0,24}(expirad|suspendid|inexistente|no existe)`, `アドレス.{0,12}(見つから|不明)`, `nicht gefunden`, `nicht im .{0,24}(verzeichnis|adressbuch)`, `niet gevonden`, `ei löytynyt`, `nem található`, `찾을 수 없`, `finner ikke`, `ikke finde`, `blev ikke fundet`, `hittades inte`, `nie (można )?znale`, `nenalezen`, `nebyla nalezena`, `nu a fost găsit`, `δεν (βρέθηκε|υπάρχει)`, `לא נמצא`, `لم يتم العثور`, `غير موجود`, `找不到`, `não (foi )?encontrad`, `no se ha encontrado`, `non trovato`, `bulunamadı`, `не (найден|знайден|намерен)`, `(recipient|user|mailbox|account|destinataire)('s)? ?(account|mailbox)? (is |has been |was |est )(blocked|bloqu|locked|frozen|suspended|disabled|closed)`, `disabled recipient`, `not a registered`, `check (if|whether|that) (the )?address`, `ディレクトリ.{0,24}(ありません|見つか)`, `unknown (local )?user`, `no such (user|mailbox|recipient|account|address)`, `recipient address rejected: (user|undeliverable|unverified|access denied|unknown|no such|address)`, `mailbox (not found|unavailable|does not exist)`, `(user|recipient|address|account|mailbox|alias) (was |is |could |can)?(not|n't) (be )?found`, `wasn't found at`, `couldn't be found`, `no mailbox (here|by)`, `invalid (mailbox|recipient|user)`, `(recipient|mailbox|account|user|address) (does not|doesn't) exist`, `not listed in`, `5\.1\.1\b`, `5\.1\.10\b`, `recipnotfound`),
	clues(ClassPolicy, "7.1", `\bs3140\b`, `\bs3150\b`, `spamhaus`, `spamcop`, `barracuda(central)?`, `sorbs`, `\brbl\b`, `\bdnsbl\b`, `dns ?blacklist`, `black ?-?list`, `block ?-?list`, `blocklist`, `blacklisted`, `deny ?list`, `listed (at|on|by) `, `listed in .{0,20}(\bbl\b|block|black|list)`, `poor reputation`, `bad reputation`, `low reputation`, `sender (denied|rejected|refused|blocked|not allowed|verify failed|address rejected)`, `\b(ip|ip address|your ip|client host|server|network|host|connection|domain|sender|sending|messages? from|mail from|your (message|mail|email|domain)).{0,60}(blocked|rejected|refused|denied|banned|not (allowed|permitted|authori[sz]ed|accepted)|weren't sent)`, `\bspf\b`, `sender policy framework`, `\bdkim\b`, `reverse dns`, `\bptr\b`, `\brdns\b`, `relay(ing)? (access )?(denied|not|is not|prohibited|refused|forbidden)`, `not (allowed|permitted|able|authori[sz]ed) to (relay|send)`, `unable to relay`, `(we|do) (do )?not relay`, `no relaying`, `relay (not|denied)`, `not authori[sz]ed`, `authentication (is )?required`, `access denied`, `administratively (prohibited|denied|blocked)`, `policy (violation|rejection|reason|restriction)`, `local policy`, `(due to|for) policy`, `security policy`, `\bprohibited\b`, `delivery not authorized`, `message refused`, `permission`, `restricted`, `only accepts (mail|messages|e-?mail)`, `members? only`, `(user|recipient|address|they).{0,30}(not accept|doesn't accept|does not accept|refuses|only accept)s? .{0,30}(from|mail)`, `not accepting mail from`, `denied by`, `by policy`, `smtp auth(entication)?\b`, `mismatch`, `5\.7\.\d+`, `requires confirmation`, `confirm this mail server`, `must issue a starttls`, `tls (is )?required`, `helo`, `banned`, `blocked`, `black-listed`, `not like the sender`, `unsolicited`, `complaints`, `challenge`),
	clues(ClassNetwork, "1.2", `(unknown|illegal|bad|invalid|no such) (mail ?)?(host|domain)`, `(host|domain|service)( or (domain|service))?( name)?:? .{0,30}(not found|not known|unknown|does not exist|doesn't exist|invalid|unreachable)`, `no (mx|mail exchanger)`, `nxdomain`, `name service error`, `all relevant mx records`, `no mx or`, `5\.1\.2\b`, `5\.4\.[46]\b`, `mail loop`, `loops back`, `too many hops`),
	clues(ClassNetwork, "4.7", `envelope expired`),
	clues(ClassMailbox, "1.1", `(user|recipient|mailbox|address|account|userid|username|alias|member|addressee|name|local part|receiver|customer|person|destinataire|empfänger|usuario|destinatario|utente|адресат|пользовател|получател|ящик)s?\b.{0,60}(unknown|not (found|known|exist|listed|recogni[sz]ed|valid|available|active|here|defined|local|registered|in )|does ?n[o']t exist|doesn't (have|exist)|no longer|invalid|inactive|disabled|suspended|closed|deactivated|expired|terminated|cannot be found|can't be found|couldn't be found|could not be found|unbekannt|inconnue?|desconocid|sconosciut|inesistente|n'existe|existiert nicht|no existe|не найден|не существует|отключен|заблокирован|неизвест)`, `(unknown|invalid|no such|non-?existent|bad|illegal|nonexisting|unrecogni[sz]ed|inactive|undeliverable|disabled) (local |final delivery )?(user|recipient|mailbox|address|account|userid|username|alias|person|customer|mailhost|destination|name|local)`, `no (mailbox|recipient|account|user|person|such|valid recipients|mail-?box)`, `(is )?not a (valid|known|local|current) (user|mailbox|recipient|address|account)`, `unrout(e)?able`, `recipient (address )?rejected`, `mailbox (unavailable|not available|disabled|does|is (disabled|inactive|unavailable)|has been (disabled|blocked|suspended))`, `recipnotfound`, `recipientnotfound`, `(e-?mail )?(address|account) (that )?you (tried|are trying|were trying) to (reach|contact)`, `dd .{0,20}(this user|sorry)`, `\[#10\d\]`, `user (account )?(is )?(disabled|inactive|suspended)`, `addressee unknown`, `verify the (e-?mail )?address`, `check the (recipient|e-?mail|spelling)`, `not listed in`, `left the company`, `account (has been )?(disabled|closed|deleted|suspended|deactivated|is disabled)`, `(can't|cannot|could not) (find|verify) (the )?(user|recipient|mailbox)`, `does not like recipient`, `user doesn't`, `this user`, `address (wasn't|was not|couldn't|could not)`, `adresse .{0,30}(unbekannt|ungültig|nicht)`, `unbekannte[rn]? (empf|benutzer|adress)`, `benutzer .{0,20}unbekannt`, `adresse .{0,20}(inconnue|invalide|inexistante)`, `dirección .{0,30}(no|desconocida|incorrecta)`, `usuario .{0,20}(desconocid|no )`, `indirizzo .{0,30}(errato|inesistente|non)`, `utente .{0,30}(sconosciuto|inesistente|non)`, `5\.1\.1\b`, `5\.1\.10\b`, `5\.1\.[0236]\b`, `5\.2\.1\b`, `4\.1\.1\b`, `(gebruiker|ontvanger|adres|mailbox) .{0,20}(onbekend|bestaat niet)`, `onbekende (gebruiker|ontvanger)`, `okänd (användare|mottagare)`, `(användaren|mottagaren|adressen) .{0,20}(okänd|finns inte|hittades inte)`, `ukendt (bruger|modtager)`, `ukjent (bruker|mottaker)`, `tuntematon (käyttäjä|vastaanottaja)`, `(nieznany|nieznana) (użytkownik|odbiorca|adres)`, `(użytkownik|odbiorca|adres|skrzynka) .{0,20}nie istnieje`, `neznámý (uživatel|příjemce)`, `(uživatel|příjemce|adresa|schránka) .{0,20}neexistuje`, `ismeretlen (felhasználó|címzett)`, `(kullanıcı|alıcı|adres) .{0,20}(bulunamadı|yok)`, `(usuário|utilizador|destinatário|endereço|caixa) .{0,20}(desconhecid|não existe|inexistente|inválid)`, `(користувач|адрес|скриньк|одержувач).{0,20}(не існує|невідом|не знайден)`, `άγνωστος`, `tidak (ditemukan|dikenal)`, `不存在`, `存在しま`, `見つかりま`, `존재하지`, `宛先.{0,12}(不明|見つか|存在)`, `user unknown`, `failed to route the address`, `addressee`, `unknown$`),
	clues(ClassNetwork, "4.1", `time[d]?[ -]?out`, `timeout`, `connection (refused|reset|closed|lost|dropped|failed|error)`, `(could not|cannot|can't|couldn't|unable to|failed to) (connect|contact|resolve|establish|reach|lookup|look up)`, `host (not found|unknown|unreachable|or domain name not found|is down)`, `unknown (host|domain|mail host)`, `(domain|host)( name)? .{0,30}(not found|does not exist|doesn't exist|unknown|invalid)`, `name server`, `\bdns (error|fail|lookup|time|problem|server|resol|entr|record|quer)`, `nxdomain`, `no route`, `network (is )?(unreachable|error)`, `unreachable`, `not reachable`, `all hosts .{0,80}(failing|unreachable)`, `find a gateway`, `not accepting (smtp )?connections`, `lost connection`, `no (mx|mail) (record|exchanger|server|host)`, `\bmx (records?|hosts?|lookup|servers?)\b`, `mail loop`, `loops? back`, `too many hops`, `hop ?count`, `message looping`, `retry time`, `retry timeout`, `queue too long`, `too long`, `expired`, `no smtp service`, `not responding`, `did not respond`, `no answer`, `never delivered`, `failed \d+ attempts`, `did not accept our requests`, `gave up`, `giving up`, `delivery (attempts|time)`, `server (is )?(down|unavailable)`, `bad destination (system|host)`, `bad domain`, `illegal host`, `handshake`, `4\.4\.\d`, `5\.4\.\d`, `5\.1\.2\b`),
	clues(ClassContent, "7.1", `\bspam\b`, `(mail|messages?) with attachments`, `messages? without`),
	// The last: a refusal that gives no reason, and what is to be tried again.
	clues(ClassPolicy, "7.1", `\b(mail|message|e-?mail)s? (was |were |has been |have been |is )?(rejected|refused|denied)\b`, `\b(rejected|refused|denied|blocked)\.?\W*$`),
	clues(ClassRate, "7.0", `(please )?(try|retry) (again )?later`, `essayer plus tard`, `später (noch ?einmal|erneut)`),
}

// vague are the statuses that say next to nothing, or are used for everything.
var vague = pattern(`^[245]\.(0\.0|3\.0|5\.[0-9]+|7\.[01]|2\.0|4\.[01]|4\.7|1\.0|7\.[5-9]\d\d)$`)

// Classify tells the class of a refusal from its status and from what the far end said. The
// text outranks a status that is vague, because many systems send one such for everything.
func Classify(status, text string) Class {
	lower := strings.NewReplacer("’", "'").Replace(strings.ToLower(text))
	byStatus := classOf(status)
	byText, _ := clueIn(lower)
	if byStatus == ClassUnknown || vague().MatchString(status) {
		if byText != ClassUnknown {
			return byText
		}
		return byStatus
	}
	// What hides behind other codes, too.
	nobody := saysNobody().MatchString(lower)
	switch byText {
	case ClassDMARC:
		return byText
	case ClassRate:
		if byStatus == ClassPolicy || byStatus == ClassMailbox && !nobody || status[0] == '4' && byStatus != ClassFull {
			return byText
		}
	case ClassFull:
		if byStatus == ClassMailbox && !nobody {
			return byText
		}
	case ClassPolicy:
		if byStatus == ClassMailbox && !nobody && listed().MatchString(lower) {
			return byText
		}
	}
	return byStatus
}

var (
	saysNobody = pattern(`unknown|not exist|n't exist|no such|not found|invalid recipient`)
	listed     = pattern(`spamhaus|black ?-?list|block ?-?list|\bdnsbl\b|reputation`)
)

// internet addresses look like statuses.
var internet = pattern(`\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}`)

// tells tells whether a text has a clue.
func tells(text string) bool {
	class, _ := clueIn(strings.ToLower(text))
	return class != ClassUnknown
}

func clueIn(lower string) (Class, string) {
	lower = internet().ReplaceAllString(lower, "ip")
	for _, c := range byText {
		if c.text().MatchString(lower) {
			return c.class, c.detail
		}
	}
	return ClassUnknown, ""
}

// exact are statuses whose class is not that of their subject.
var exact = map[string]Class{
	"1.7": ClassPolicy, "1.8": ClassPolicy, "2.2": ClassFull, "2.3": ClassContent, "3.1": ClassNetwork, "3.2": ClassNetwork, "3.4": ClassContent,
	"4.1": ClassNetwork, "5.3": ClassRate, "7.26": ClassDMARC, "7.28": ClassRate, "7.509": ClassDMARC, "7.515": ClassDMARC,
	"1.2": ClassNetwork, "5.2": ClassUnknown, "7.25": ClassPolicy, "7.13": ClassMailbox,
}

// subjects are the classes of the subjects of RFC 3463.
var subjects = map[string]Class{"1": ClassMailbox, "2": ClassMailbox, "4": ClassNetwork, "6": ClassContent, "7": ClassPolicy}

func classOf(status string) Class {
	_, rest, ok := strings.Cut(status, ".")
	if !ok {
		return ClassUnknown
	}
	if c, known := exact[rest]; known {
		return c
	}
	subject, _, _ := strings.Cut(rest, ".")
	if c, known := subjects[subject]; known {
		return c
	}
	return ClassUnknown
}

var (
	permanentWords = pattern(`permanent|fatal error`)
	expiredWords   = pattern(`retry time|timed? ?-?out|queue too long|expired|too long|gave up|not responding|connection refused|giving up|unable to connect|could not connect`)
)

// statusInText is the status that a text in words means: one that stands in it, that of a
// reply in it, or one made from what it says. permanent tells that the bounce calls the
// failure so.
func statusInText(text string, late, permanent bool) string {
	digit := byte('5')
	if late {
		digit = '4'
	}
	for _, m := range enhanced().FindAllStringSubmatch(text[:min(len(text), maxText)], 10) {
		if !late || m[1][0] == '4' {
			return m[1]
		}
	}
	lower := strings.ToLower(text[:min(len(text), 4*maxText)])
	class, detail := ClassUnknown, ""
	if at := reply().FindStringIndex(lower); at != nil {
		class, detail = clueIn(lower[at[0]:]) // what the far end said before what is said about that
	}
	if class == ClassUnknown {
		class, detail = clueIn(lower)
	}
	if m := reply().FindStringSubmatch(text); m != nil && !late {
		digit = m[1][0]
	} else if class == ClassNetwork && !late && expiredWords().MatchString(lower) && !permanent {
		return "4.4.7" // it was tried for days: nobody knows about the address
	}
	if class == ClassUnknown {
		return string(digit) + ".0.0"
	}
	return string(digit) + "." + detail
}
