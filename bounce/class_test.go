package bounce

import "testing"

// TestClassify: what far ends say, and whose fault it is.
func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		want         Class
		status, text string
	}{
		{ClassMailbox, "5.0.0", "550 <ann@net.test>: Recipient address rejected."}, // "recipient" has "ip" in it
		{ClassMailbox, "5.5.0", "550 5.5.0 The recipient account is blocked"},
		{ClassMailbox, "5.0.0", "550 Mailbox is frozen"},
		{ClassMailbox, "5.7.13", "525 5.7.13 Disabled recipient address"},
		{ClassMailbox, "5.0.0", "550 'ann@net.test' is not a registered gateway user"},
		{ClassMailbox, "5.1.1", "550 5.1.1 <ann@net.test> user unknown; also listed at spamhaus"},
		{ClassMailbox, "5.0.0", "Unable to deliver. Please check if address is correct."},
		{ClassFull, "5.1.1", "552 sorry, mailbox is over quota temporarily (#5.1.1)"},
		{ClassFull, "5.2.1", "552 mailbox full"},
		{ClassFull, "5.0.0", "550 <ann@web.test> User has too many messages on the server."},
		{ClassFull, "5.0.0", "Mailbox quota usage exceeded. Espacio en casilla de mail agotado."},
		{ClassFull, "5.0.0", "552 Account(s) <ann@net.test> does not have enough space"},
		{ClassMailbox, "5.0.0", "550-ann@net.test is not an active address at this host (invalid username)"},
		{ClassMailbox, "5.7.1", "550 5.7.1 No mailbox found"},
		{ClassMailbox, "5.0.0", "550 BAD_RECIPIENT - see http://net.test/"},
		{ClassMailbox, "5.0.0", "Recipient user name ann (ann@net.test) not unique. Several matches found in Domino Directory."},
		{ClassMailbox, "5.0.0", "Esta casilla ha expirado por falta de uso."},
		{ClassContent, "5.0.0", "554 Spam email. Email Session ID: {4EA34C51}"},
		{ClassPolicy, "5.0.0", "550 Your server requires confirmation."},
		{ClassPolicy, "5.1.1", "550 5.7.1 IP address blacklisted by recipient"},
		{ClassPolicy, "5.1.3", "553 see spamhaus.org"},
		{ClassPolicy, "5.7.1", "550-5.7.1 likely suspicious due to the very low reputation of the sending IP; to protect our users from spam it has been blocked"},
		{ClassPolicy, "5.0.0", "550 IP address blocked for spamming"},
		{ClassPolicy, "5.0.0", "SMTP error from remote mail server after MAIL FROM:<dev-bounces@lists.test>: 550 lists.test does not exist"},
		{ClassPolicy, "5.0.0", "host mx.test said: 550 no such domain (in reply to MAIL FROM command)"},
		{ClassPolicy, "5.0.0", "550 Denied by policy"},
		{ClassPolicy, "5.0.0", "550 Rejected"},
		{ClassPolicy, "5.5.0", "550 domain [example.com] mismatches client ip 192.0.2.225."},
		{ClassPolicy, "5.0.0", "554 INVALID IP FOR SENDING MAIL OF DOMAIN lists.test"},
		{ClassPolicy, "5.0.0", "550-Please turn on SMTP Authentication in your mail client."},
		{ClassContent, "5.7.0", "554 5.7.0 Reject, id=20025-09 - SPAM"},
		{ClassContent, "5.0.0", "554 Transaction failed: Duplicate header 'DKIM-Signature'."},
		{ClassContent, "5.0.0", "host mx.test [192.0.2.1]: 500 Line limit exceeded"},
		{ClassContent, "5.0.0", "rejected due to spam classification"},
		{ClassDMARC, "5.7.1", "550-5.7.1 This message does not have authentication information or fails to pass authentication checks"},
		{ClassPolicy, "5.0.0", "550 Unauthenticated senders not allowed"},
		{ClassRate, "5.2.1", "550-5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages"},
		{ClassRate, "5.1.1", "550 5.1.1 192.0.2.1 has sent to too many recipients this hour"},
		{ClassRate, "5.0.0", "550 Connection frequency limited [x Blocked IP 192.0.2.22]"},
		{ClassRate, "4.0.0", "421 Service refused, please try later."},
		{ClassRate, "4.1.9", "Resources temporarily unavailable, please try again later [#4.1.9]."},
		{ClassFull, "4.4.7", "450 4.2.2 <ann@net.test>... Mailbox Full"}, // why it was tried for too long
		{ClassPolicy, "4.4.7", "450 4.7.1 Access denied. IP name lookup failed [192.0.2.1]"},
		{ClassNetwork, "4.4.7", "delivery time expired"},
		{ClassContent, "5.7.0", "552-5.7.0 Our system detected an illegal attachment on your message."},
		{ClassNetwork, "5.5.0", "554 could not be delivered because the domain is not reachable"},
		{ClassNetwork, "5.0.0", "all hosts for 'isp.test' have been failing for a long time (and retry time not reached)"},
		{ClassNetwork, "5.0.0", "Could not find a gateway for ann@net.test"},
		{ClassNetwork, "4.0.0", "Envelope expired"},
		{ClassUnknown, "5.0.0", "host mx.isp.test [192.0.2.1] said: 550 no"}, // the name of a host is no reason
		{ClassUnknown, "5.0.0", "host dns.isp.test [192.0.2.1] said: 550 no"},
	} {
		if got := Classify(tt.status, tt.text); got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.status, tt.text, got, tt.want)
		}
	}
}
