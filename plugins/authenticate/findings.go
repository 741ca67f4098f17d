package authenticate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk"
)

// unknown is what nobody has looked at.
const unknown mailauth.Result = ""

// maxForged is how many forged fields are taken out one by one.
const maxForged = 50

// maxTold bounds the signatures that are told of.
const maxTold = 20

// findings are what is known of a post.
type findings struct {
	toldDKIM  bool
	verdict   mailauth.Verdict
	spf       mailauth.Result
	spfDomain string
	dmarc     mailauth.Result
	judged    string // the author's domain that DMARC was told of; "" if that was not said
	aligned   string
}

// forget keeps nothing of what was told but SPF, which only the MTA can know.
func (f *findings) forget() {
	*f = findings{spf: f.spf, spfDomain: f.spfDomain}
}

// believe reads the fields that our own MTA's verifier wrote, and takes out those that only
// say so: they stand where the message came with them (RFC 8601 5).
func (f *findings) believe(p *sdk.Post, ids []string, received int) {
	var forged []int
	for _, r := range mailauth.ResultFields(p.Header) {
		switch {
		case !slices.Contains(ids, r.ID):
		case r.Received > received:
			forged = append(forged, r.Nth)
		default:
			for _, m := range r.Results {
				f.take(m)
			}
		}
	}
	if len(forged) > maxForged {
		// Nobody sends that many but who wants to make work. What is believed is noted.
		p.Header.Remove("Authentication-Results")
	} else {
		for _, nth := range slices.Backward(forged) { // the numbers above stay as they are
			p.Header.RemoveNth("Authentication-Results", nth)
		}
	}
	if len(forged) > 0 {
		p.Count("forged-results", int64(len(forged)))
	}
	// Of several authors, the MTA's verifier may not have looked at the one that we would.
	if authors := mailauth.AuthorDomains(p.Header); f.dmarc == mailauth.Pass && len(authors) > 0 {
		judged := cmp.Or(f.judged, authors[0])
		if i := slices.IndexFunc(authors, func(d string) bool { return mailauth.SameDomain(d, judged) }); i >= 0 {
			f.aligned = authors[i]
		}
	}
}

// take takes one result. The first that tells of a method is the last that was written.
func (f *findings) take(m mailauth.MethodResult) {
	switch m.Method {
	case "dkim":
		f.toldDKIM = true
		if m.Result != mailauth.None && len(f.verdict.DKIM) < maxTold {
			f.verdict.DKIM = append(f.verdict.DKIM, mailauth.Signature{Result: m.Result, Selector: m.Prop("header.s"),
				Domain: cmp.Or(m.Prop("header.d"), domainOf(m.Prop("header.i")))})
		}
	case "spf":
		if f.spf == unknown {
			f.spf, f.spfDomain = m.Result, cmp.Or(domainOf(m.Prop("smtp.mailfrom")), domainOf(m.Prop("smtp.helo")))
		}
	case "dmarc":
		if f.dmarc == unknown {
			f.dmarc, f.judged = m.Result, domainOf(m.Prop("header.from"))
		}
	case "arc":
		f.verdict.ARC.Result = cmp.Or(f.verdict.ARC.Result, m.Result)
	}
}

// domainOf is what stands after an @, or all of it.
func domainOf(s string) string {
	return strings.ToLower(s[strings.LastIndexByte(s, '@')+1:])
}

// leave leaves the notes.
func (f *findings) leave(p *sdk.Post, id string) {
	if p.Notes == nil {
		p.Notes = map[string]string{}
	}
	note := func(name, text string) {
		if text != "" {
			p.Notes["auth."+name] = text
		}
	}
	if f.toldDKIM {
		f.verdict.DKIM = f.verdict.DKIM[:min(len(f.verdict.DKIM), maxTold)]
		var words []string
		for _, s := range f.verdict.DKIM {
			words = append(words, s.Domain+"="+string(s.Result))
		}
		note("dkim", cmp.Or(short(strings.Join(words, " ")), "none"))
	}
	note("spf", short(strings.TrimSpace(string(f.spf)+" "+f.spfDomain)))
	note("dmarc", short(string(f.dmarc)))
	note("arc", short(string(f.verdict.ARC.Result)))
	note("aligned", f.aligned)
	note("results", f.field(p, id))
}

// field is what an Authentication-Results field of ours would say.
func (f *findings) field(p *sdk.Post, id string) string {
	a := mailauth.AuthResults{ID: id}
	for _, s := range f.verdict.DKIM {
		m := mailauth.MethodResult{Method: "dkim", Result: s.Result}
		for _, prop := range []mailauth.Prop{{Name: "header.d", Value: s.Domain}, {Name: "header.s", Value: s.Selector}} {
			if prop.Value != "" {
				m.Props = append(m.Props, prop)
			}
		}
		a.Results = append(a.Results, m)
	}
	if f.spf != unknown {
		a.Results = append(a.Results, mailauth.MethodResult{Method: "spf", Result: f.spf, Props: props("smtp.mailfrom", f.spfDomain)})
	}
	if f.dmarc != unknown {
		domain := ""
		if authors := mailauth.AuthorDomains(p.Header); len(authors) > 0 {
			domain = authors[0]
		}
		a.Results = append(a.Results, mailauth.MethodResult{Method: "dmarc", Result: f.dmarc, Props: props("header.from", domain)})
	}
	if r := f.verdict.ARC.Result; r != unknown && r != mailauth.None {
		a.Results = append(a.Results, mailauth.MethodResult{Method: "arc", Result: r})
	}
	return short(a.String())
}

func props(name, value string) []mailauth.Prop {
	if value == "" {
		return nil
	}
	return []mailauth.Prop{{Name: name, Value: value}}
}

// short keeps a note, much of which comes from the post, within what mlist takes.
func short(s string) string {
	const most = 4096
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
