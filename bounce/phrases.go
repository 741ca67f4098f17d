package bounce

// failed are the phrases with which MTAs say that a message did not arrive, in lower case
// with single blanks and straight apostrophes.
var failed = []string{
	// English
	"not be delivered", "n't be delivered", "cannot be delivered", "can not be delivered", "not delivered to", "was not delivered", "wasn't delivered", "were not delivered", "weren't delivered", "not been delivered to",
	"unable to deliver", "able to deliver your", "able to deliver it", "not able to deliver", "n't able to deliver", "could not deliver", "couldn't deliver", "cannot deliver", "can't deliver", "failed to deliver", "unable to send", "could not send", "not be sent", "couldn't send",
	"delivery failed", "delivery has failed", "delivery failure", "delivery error", "error delivering", "failure delivering", "errors delivering", "delivery to the following", "deliver to the following", "delivery attempts failed", "failed delivery", "delivering your mail", "delivery of your", "attempting to deliver", "trying to deliver", "attempts to deliver",
	"undeliverable", "undelivered", "not deliverable", "non-deliver", "did not reach", "didn't reach", "not reach the following", "could not be reached", "couldn't be reached", "did not receive", "not receive a copy",
	"failed addresses", "failed address", "failed recipient", "address(es) failed", "addresses failed", "following addresses had", "address(es) had", "recipients failed", "recipient(s) failed", "following recipients", "following recipient", "list of failed",
	"permanent fatal", "fatal errors", "fatal error", "permanent error", "returned to you", "being returned", "has been returned", "was returned", "returned to sender", "returned undelivered", "returned mail",
	"was rejected", "were rejected", "has been rejected", "rejected by", "rejected your message", "been refused", "was refused", "not accepting mail", "refused to accept", "not accepted", "message blocked", "was blocked", "been blocked",
	"unknown user", "user unknown", "unknown recipient", "invalid recipient", "invalid final delivery userid", "no such user", "no valid recipients", "address not found", "couldn't be found", "could not be found", "recipient not found", "unknown address", "unroutable", "unrouteable", "not listed in", "does not exist", "doesn't exist",
	"exceeds allowed size", "mailbox is full", "mailbox full", "over quota", "quota exceeded",
	"reported the following problems", "xmail bounce", "an error occurred while", "error has occurred", "error occurred", "problems delivering", "problem delivering", "encountered a problem", "message could not", "mail could not", "is undeliver", "bounced", "transaction failed",
	"failed permanently", "failed:", "was stopped", "been stopped", "unsolicited bulk", "banned contents", "not delivered the", "failed to reach", "no longer valid", "not able to be delivered", "unsuccessful", "message rejected", "recipient rejected", "have been disabled", "been suspended", "no transport", "i've given up", "giving up",
	// German
	"nicht zugestellt", "nicht zustell", "nicht ausgeliefert", "nicht übermittelt", "nicht gesendet werden", "nicht erreicht", "nicht erreichen", "unzustellbar", "konnte nicht an", "fehlgeschlagen", "fehler bei der zustellung", "fehler beim zustellen", "zurückgewiesen", "abgelehnt", "nicht weitergeleitet", "nicht versendet", "nicht versandt", "zustellung an", "nicht überbracht",
	// French
	"pas pu être remis", "pas été remis", "pas pu être délivré", "pas pu être distribué", "pas pu être envoyé", "pu être délivré", "pu être remis", "pu être acheminé", "pas pu être livré", "pas été délivré", "pas été distribué", "échec de la remise", "échec de remise", "non remis", "n'a pas pu", "impossible de remettre", "impossible de délivrer", "impossible de distribuer", "impossible d'envoyer", "pas atteint", "a été rejeté", "destinataires suivants", "destinataire suivant", "non distribuable", "echec de", "pas parvenu",
	// Spanish
	"no se pudo entregar", "no se ha podido entregar", "no pudo ser entregado", "no pudo entregarse", "no ha podido ser entregado", "no fue entregado", "no se puede entregar", "no se entregó", "no ha sido entregado", "no llegó", "no se pudo enviar", "error de entrega", "error al entregar", "destinatarios siguientes", "siguientes destinatarios", "siguiente destinatario", "no entregado", "fue rechazado", "ha sido rechazado", "imposible entregar",
	// Italian
	"non è stato possibile recapitare", "non è stato possibile consegnare", "impossibile recapitare", "impossibile consegnare", "non è stato recapitato", "non è stato consegnato", "non può essere recapitato", "non può essere consegnato", "non recapitat", "non consegnat", "recapito non riuscito", "mancato recapito", "mancata consegna", "destinatari seguenti", "seguenti destinatari", "seguente destinatario", "è stato rifiutato", "errore durante la consegna", "non ha raggiunto", "non sono stati raggiunti",
	// Portuguese
	"não pôde ser entregue", "não foi entregue", "não pode ser entregue", "não foi possível entregar", "não é possível entregar", "falha na entrega", "falha ao entregar", "não entregue", "destinatários a seguir", "seguintes destinatários", "seguinte destinatário", "foi rejeitad", "não foi possível enviar",
	// Dutch
	"niet worden bezorgd", "niet bezorgd", "niet worden afgeleverd", "niet afgeleverd", "onbestelbaar", "niet worden verzonden", "niet bereikt", "geweigerd", "bezorging mislukt", "aflevering mislukt",
	// Swedish, Danish, Norwegian, Finnish
	"inte levereras", "inte att leverera", "kunde inte", "inte leverera", "misslyckades", "ikke leveres", "ikke levere", "blev ikke leveret", "ble ikke levert", "ikke levert", "ikke sendes", "mislykkedes", "mislyktes", "ei voitu toimittaa", "ei voi toimittaa", "ei toimitettu", "epäonnistui",
	// Polish, Czech, Slovak, Hungarian, Romanian, Turkish
	"nie można dostarczyć", "nie mogła zostać dostarczona", "nie została dostarczona", "nie została doręczona", "nie udało się dostarczyć", "nie może być dostarczona", "niedostarcz", "nie dostarczono", "nelze doručit", "nebyla doručena", "nebylo možné doručit", "nepodařilo doručit", "nedoručiteln", "nemohla být doručena", "nebolo možné doručiť", "nem kézbesíthető", "nem sikerült kézbesíteni", "kézbesítése nem sikerült", "nu a putut fi livrat", "nu a fost livrat", "teslim edilemedi", "iletilemedi", "teslim edilemiyor", "ulaştırılamadı",
	// Russian, Ukrainian, Bulgarian
	"не удалось доставить", "не удаётся доставить", "не удается доставить", "не доставлено", "не было доставлено", "не может быть доставлено", "не могло быть доставлено", "невозможно доставить", "не доставлен", "недоставлен", "ошибка доставки", "отклонено", "не вдалося доставити",
	"не е доставено", "не може да бъде доставен",
	// Greek, Hebrew, Arabic, Persian, Croatian, Serbian, Slovenian, Lithuanian, Latvian, Estonian, Catalan, Vietnamese, Thai, Indonesian
	"δεν ήταν δυνατή η παράδοση", "δεν παραδόθηκε", "απέτυχε", "αδύνατη η παράδοση", "נכשלה", "לא נמסרה", "לא ניתן למסור", "فشل التسليم", "لم يتم تسليم", "تعذر تسليم", "تعذّر تسليم", "تحویل داده نشد",
	"nije isporučen", "isporuka nije uspjela", "nije moguće isporučiti", "није испоручен", "ni bilo mogoče dostaviti", "ni bila dostavljena", "nepavyko pristatyti", "nepristatyt", "nevarēja piegādāt", "nav piegādāt", "ei õnnestunud", "no s'ha pogut lliurar", "no s'ha lliurat",
	"không gửi được", "không thể gửi", "ไม่สามารถส่ง", "ส่งไม่สำเร็จ", "tidak terkirim", "tidak dapat dikirim", "gagal dikirim", "tidak dapat disampaikan", "livrarea către", "nu a putut fi livrată", "nelivrabil",
	// Japanese
	"配信できませんでした", "配信できません", "配信不能", "配信に失敗", "送信できませんでした", "送信できません", "届けることができません", "お届けできません", "届きませんでした", "届けられません", "配信されませんでした", "配信エラー", "未配信", "配送できません", "エラーが発生", "見つかりません", "存在しません", "受信できません",
	// Chinese
	"无法送达", "无法投递", "未能送达", "未送达", "无法传递", "无法发送", "投递失败", "发送失败", "退信", "退回", "被拒绝", "不存在", "未能投递", "傳送失敗", "無法傳遞", "無法傳送", "無法送達", "無法投遞", "無法寄達", "退件", "發送失敗",
	// Korean
	"전달되지", "전달하지 못", "전송되지", "전송하지 못", "배달하지 못", "배달되지", "배달 실패", "전송 실패", "반송", "전달할 수 없", "존재하지 않",
}

// delayed are the phrases with which MTAs say that they will go on trying.
var delayed = []string{
	"has not yet been delivered", "not yet been delivered", "not yet delivered", "transient non-fatal", "has been delayed", "is delayed", "been delayed", "was delayed", "delivery is delayed", "delivery delayed", "message delayed", "will be retried", "will retry", "will keep trying", "will continue to try", "will continue trying", "will try again", "still trying", "still being retried", "being retried", "keep trying to deliver", "warning message only", "do not need to resend", "don't need to resend", "temporary problem delivering", "temporarily unable", "still in the queue", "has not been collected", "continue to be attempted", "delivery attempts will continue", "no action is required on your part", "temporarily deferred", "still undelivered", "has not been delivered yet", "could not be delivered yet", "was not yet delivered", "for the last", "not been able to deliver", "attempts have been made so far", "not been delivered after", "haven't been delivered",
	"verzögert", "noch nicht zugestellt", "weiterhin versucht", "wird weiter versucht", "noch nicht ausgeliefert", "nochmals versucht", "weitere zustellversuche",
	"retardé", "retardée", "pas encore été", "tentatives continuent", "nouvelle tentative", "continuera", "différée",
	"retrasado", "aún no se ha entregado", "seguirá intentando", "volverá a intentar", "demorado", "todavía no",
	"ritardat", "in ritardo", "non è ancora stato", "continuerà a", "riproverà",
	"atrasad", "ainda não foi entregue", "continuará tentando",
	"vertraagd", "nog niet bezorgd", "nog niet afgeleverd", "försenat", "försenad", "forsinket", "viivästynyt", "opóźnion", "zpožděn", "pozdrž",
	"задержан", "задержка", "будут продолжены", "пока не доставлено", "ещё не доставлено", "еще не доставлено", "повторные попытки",
	"遅延", "遅れて", "再送を試み", "まだ配信されて", "延迟", "尚未送达", "延遲", "尚未傳遞", "지연", "아직 배달",
}

// onlyLate are those after which nothing can have failed, whatever else is said.
var onlyLate = []string{"warning message only", "do not need to resend", "don't need to resend", "no action is required on your part", "has not yet been delivered", "will be retried for", "will keep trying", "this is just a warning", "this is only a warning", "delivery attempts will continue", "gmail will retry", "gmail will keep trying", "you do not have to resend", "there is no need to resend"}

// lateSubjects are in subjects of warnings.
var lateSubjects = []string{"delayed", "(delay", "delay)", "delivery delay", "warning: message", "could not send message for past", "warning: could not send", "delayed mail", "still being retried", "verzögert", "retardé", "retrasad", "ritard", "vertraagd", "задержк", "遅延", "延迟"}
