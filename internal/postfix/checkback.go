package postfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkWayBack looks at the hand-back port: who answers, whether it takes what mlist has for
// it, and whether Postfix leaves that as it is.
func (p *Instance) checkWayBack(ctx context.Context, e Expect) ([]Finding, error) {
	if e.HandBack == "" {
		return nil, nil // not a TCP port
	}
	entry, err := p.listener(ctx, e.HandBack)
	if err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", e.HandBack)
	if err != nil {
		first := "DOMAIN"
		if len(e.Domains) > 0 {
			first = e.Domains[0]
		}
		cure := fmt.Sprintf(setUp, first)
		if entry != nil {
			cure = "master.cf has it: start Postfix (`postfix start`), or have it read that (`postfix reload`)."
		}
		return []Finding{finding(cure, "Nobody answers at %s, the hand-back port (outbound.mta): prepared mail waits in outgoing, and no member gets any.", e.HandBack)}, nil
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	out := checkOffers(c, e)
	if entry == nil {
		return out, nil // of another instance, or another MTA
	}
	found, err := p.checkEntry(ctx, e, entry)
	return append(out, found...), err
}

// checkOffers asks the port itself, as mlist would.
func checkOffers(c net.Conn, e Expect) (out []Finding) {
	below := " below " + e.HandBack + " in master.cf, and `postfix reload`."
	text := textproto.NewConn(c)
	offered, err := offers(text)
	if err != nil {
		return []Finding{finding("outbound.mta names the MTA's port that takes prepared mail.", "What answers at %s, the hand-back port (outbound.mta), is no SMTP server that takes mail: %v.", e.HandBack, err)}
	}
	if _, ok := offered["XVERP"]; !ok {
		out = append(out, finding("Put `-o smtpd_authorized_verp_clients=127.0.0.0/8`"+below,
			"Postfix does not offer XVERP at %s, the hand-back port: where each member has a return path of their own, each costs a whole message.", e.HandBack))
	}
	if size, err := strconv.ParseInt(offered["SIZE"], 10, 64); err == nil && size > 0 && size < e.MaxMessageSize {
		out = append(out, finding("Put `-o message_size_limit=0`"+below,
			"The hand-back port takes messages up to %d octets, mlist up to %d (lmtpd.max_message_size): a post between the two fails after it was accepted.", size, e.MaxMessageSize))
	}
	if _, ok := offered["SMTPUTF8"]; !ok && slices.ContainsFunc(e.Domains, func(d string) bool { return len(spellings(d)) > 1 }) {
		out = append(out, finding("`postconf -e smtputf8_enable=yes` and `postfix reload`.", "Postfix does not offer SMTPUTF8 (smtputf8_enable): list mail with addresses that are not ASCII goes nowhere."))
	}
	sender := "postmaster@localhost"
	if len(e.Samples) > 0 && e.Samples[0].IsASCII() {
		sender = e.Samples[0].Local + "-bounces@" + e.Samples[0].Domain
	}
	// example.com is nobody's, and takes no mail; nothing is sent.
	for _, ask := range []string{"MAIL FROM:<" + sender + ">", "RCPT TO:<nobody@example.com>"} {
		if err := text.PrintfLine("%s", ask); err != nil {
			break
		}
		var refusal *textproto.Error
		if _, _, err := text.ReadResponse(2); errors.As(err, &refusal) {
			out = append(out, finding("The entry of "+e.HandBack+" in master.cf wants `-o mynetworks=127.0.0.0/8`, `-o smtpd_relay_restrictions=permit_mynetworks,reject` and no other restrictions; `mlist postfix setup` writes one where there is none.",
				"The hand-back port does not take mail for members: to %s it says %d %s.", ask, refusal.Code, refusal.Msg))
			break
		}
	}
	_ = text.PrintfLine("QUIT")
	return out
}

// offers is what an SMTP server says that it can do, in capitals, with what stands behind.
func offers(text *textproto.Conn) (map[string]string, error) {
	if _, _, err := text.ReadResponse(220); err != nil {
		return nil, err
	}
	if err := text.PrintfLine("EHLO localhost"); err != nil {
		return nil, err
	}
	_, said, err := text.ReadResponse(250)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(said) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[strings.ToUpper(word)] = rest
	}
	return out, nil
}

// listener is the entry of master.cf, in fields, that listens at an address; nil if none does.
func (p *Instance) listener(ctx context.Context, hostPort string) ([]string, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	number, _ := net.LookupPort("tcp", port)
	services, err := p.run(ctx, "postconf", "-M")
	if err != nil {
		return nil, err
	}
	for entry := range strings.Lines(services) {
		f := strings.Fields(entry)
		if len(f) < 8 || f[1] != "inet" {
			continue
		}
		at, service, err := net.SplitHostPort(f[0])
		if err != nil {
			at, service = "", f[0]
		}
		if n, err := net.LookupPort("tcp", service); err != nil || n != number {
			continue
		}
		if at == "" || at == host || strings.EqualFold(at, "localhost") || strings.EqualFold(host, "localhost") {
			return f, nil
		}
	}
	return nil, nil
}

// checkEntry looks at the parameters of the hand-back port: its own, or those of main.cf.
func (p *Instance) checkEntry(ctx context.Context, e Expect, entry []string) (out []Finding, err error) {
	own := overrides(entry)
	param := func(name string) (string, error) {
		if value, ok := own[name]; ok {
			return value, nil
		}
		return p.Param(ctx, name)
	}
	values := map[string]string{}
	for _, name := range []string{"content_filter", "smtpd_proxy_filter", "smtpd_milters", "receive_override_options", "smtpd_recipient_limit",
		"header_checks", "body_checks", "mime_header_checks", "nested_header_checks"} {
		if values[name], err = param(name); err != nil {
			return nil, err
		}
	}
	below := " below " + entry[0] + " in master.cf, and `postfix reload`."
	for _, name := range []string{"content_filter", "smtpd_proxy_filter"} {
		if values[name] != "" {
			out = append(out, finding("Put `-o "+name+"=`"+below,
				"Prepared mail goes through %s (%s) once more when it is handed back: what that changes breaks signatures, and each copy costs a scan.", name, values[name]))
		}
	}
	without := split(values["receive_override_options"])
	if strings.Contains(values["smtpd_milters"], transportName) && !slices.Contains(without, "no_milters") {
		out = append(out, finding("Put `-o smtpd_milters=`"+below,
			"The hand-back port asks mlist's milter (smtpd_milters = %s), which refuses prepared mail as if it were a post.", values["smtpd_milters"]))
	}
	if limit, err := strconv.Atoi(values["smtpd_recipient_limit"]); err == nil && limit < e.Limit {
		out = append(out, finding(fmt.Sprintf("Put `-o smtpd_recipient_limit=%d`%s Or lower outbound.recipients_per_transaction.", e.Limit, below),
			"The hand-back port takes %d recipients at once (smtpd_recipient_limit), mlist hands over up to %d (outbound.recipients_per_transaction): the rest is put off each time.", limit, e.Limit))
	}
	if !slices.Contains(without, "no_header_body_checks") {
		for _, name := range []string{"header_checks", "mime_header_checks", "nested_header_checks", "body_checks"} {
			if values[name] != "" {
				out = append(out, finding("Put `-o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters`"+below,
					"%s (%s) is applied to prepared mail, too: what it strips or rejects is stripped and rejected for all members.", name, values[name]))
			}
		}
	}
	return out, nil
}

// overrides are the parameters that an entry of master.cf sets for itself.
func overrides(fields []string) map[string]string {
	out := map[string]string{}
	line := strings.Join(fields, " ")
	for {
		_, rest, ok := strings.Cut(line, " -o ")
		if !ok {
			return out
		}
		line = " " + rest
		item := strings.TrimSpace(rest)
		if inside, ok := strings.CutPrefix(item, "{"); ok {
			item, _, _ = strings.Cut(inside, "}")
		} else {
			item, _, _ = strings.Cut(item, " ")
		}
		name, value, _ := strings.Cut(item, "=")
		out[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
}
