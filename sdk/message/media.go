package message

import (
	"mime"
	"slices"
	"strconv"
	"strings"
)

// parseMedia reads a Content-Type value: type in lower case and parameters. What says
// nothing usable is otherwise (RFC 2045 5.2: plain text).
func parseMedia(value, otherwise string) (string, map[string]string) {
	if value == "" {
		return otherwise, nil
	}
	if t, params, err := mime.ParseMediaType(value); err == nil && strings.IndexByte(t, '/') > 0 && strings.IndexByte(value, '*') < 0 {
		return t, params
	}
	major, rest := token2045(value)
	rest, ok := strings.CutPrefix(rest, "/")
	minor, rest := token2045(rest)
	if !ok || major == "" || minor == "" {
		return "text/plain", nil
	}
	return strings.ToLower(major + "/" + minor), parseParams(rest)
}

// disposition reads a Content-Disposition value. RFC 2183 2.8: an unknown one is an
// attachment.
func disposition(value string) string {
	t, _ := token2045(value)
	switch t = strings.ToLower(t); t {
	case "", "inline":
		return t
	}
	return "attachment"
}

// token2045 reads an RFC 2045 token, with the white space and comments around it.
func token2045(s string) (tok, rest string) {
	s = skipCFWS(s)
	n := 0
	for n < len(s) && s[n] > ' ' && s[n] < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, s[n]) < 0 {
		n++
	}
	return s[:n], skipCFWS(s[n:])
}

func skipCFWS(s string) string {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if !strings.HasPrefix(s, "(") {
			return s
		}
		end := commentEnd(s, 0)
		if end < 0 {
			return ""
		}
		s = s[end:]
	}
}

// parseParams reads "; name=value; ..." past anything odd. The first of several
// parameters of one name counts; those in the manner of RFC 2231 are put together.
func parseParams(s string) map[string]string {
	params := make(map[string]string)
	eachParam(s, func(name, value, _ string) {
		if _, seen := params[name]; !seen {
			params[name] = value
		}
	})
	for name := range params {
		base, section, _ := strings.Cut(name, "*")
		if base == "" || section != "" && strings.TrimSuffix(section, "*") != "0" || base == name {
			continue
		}
		if _, plain := params[base]; !plain {
			params[base] = joinParam(params, base)
		}
	}
	return params
}

// maxParams is how many parameters of a field count, and maxLoose how long one without
// quotes can be, in octets.
const (
	maxParams = 100
	maxLoose  = 1000
)

// eachParam hands on parameters as they are written, names in lower case; loose is what
// stands up to the next semicolon.
func eachParam(s string, yield func(name, value, loose string)) {
	for n := 0; s != "" && n < maxParams; {
		i := strings.IndexByte(s, ';')
		if i < 0 {
			break
		}
		name, rest := token2045(s[i+1:])
		s = rest
		rest, ok := strings.CutPrefix(rest, "=")
		if name == "" || !ok {
			continue
		}
		var value string
		rest = skipCFWS(rest)
		loose, _, _ := strings.Cut(rest[:min(len(rest), maxLoose)], ";")
		value, s = paramValue(rest)
		yield(strings.ToLower(name), value, loose)
		n++
	}
}

// joinParam puts a parameter together that RFC 2231 has cut into name*0, name*1 and so
// on, or that says its charset.
func joinParam(params map[string]string, base string) string {
	if value, ok := params[base+"*"]; ok {
		charset, text := extended(value)
		return toText(charset, unescapePercent(text))
	}
	var octets []byte
	charset := ""
	for i := range maxParams {
		section := base + "*" + strconv.Itoa(i)
		if value, ok := params[section+"*"]; ok {
			if i == 0 {
				charset, value = extended(value)
			}
			octets = append(octets, unescapePercent(value)...)
		} else if value, ok := params[section]; ok {
			octets = append(octets, value...)
		} else {
			break
		}
	}
	return toText(charset, octets)
}

// extended takes charset'language'text apart.
func extended(value string) (charset, text string) {
	charset, rest, ok := strings.Cut(value, "'")
	if !ok {
		return "", value
	}
	if _, text, ok = strings.Cut(rest, "'"); !ok {
		return "", value
	}
	return charset, text
}

func unescapePercent(s string) []byte {
	octets := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				c, i = byte(hi<<4|lo), i+2
			}
		}
		octets = append(octets, c)
	}
	return octets
}

func toText(charset string, octets []byte) string {
	if e := lookup(charset[:min(len(charset), maxCharset)]); e != nil {
		return convert(e, octets)
	}
	return toUTF8(string(octets))
}

// FileNames returns what the part calls its file, decoded from whatever RFC 2231 or RFC
// 2047 made of it. A sloppy or hostile part may have several names; programs that open
// it do not agree on which of them counts.
func (p *Part) FileNames() []string {
	var names []string
	add := func(name string) {
		if name = strings.TrimSpace(DecodeText(name)); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, f := range [...]struct{ field, param string }{{"Content-Disposition", "filename"}, {"Content-Type", "name"}} {
		for _, value := range p.Header.Values(f.field) {
			value = value[:min(len(value), maxPartHeader)]
			eachParam(value, func(name, text, loose string) {
				if name != f.param || len(names) >= maxParams {
					return
				}
				add(text)
				if !strings.HasPrefix(loose, `"`) { // white space without quotes, as some programs write
					add(loose)
				}
			})
			if strings.IndexByte(value, '*') >= 0 {
				add(joinParam(parseParams(value), f.param))
			}
		}
	}
	return names
}

// paramValue reads a quoted string, or what stands up to the next semicolon or space.
func paramValue(s string) (value, rest string) {
	if strings.HasPrefix(s, `"`) {
		if end := quoteEnd(s, 0); end > 0 {
			return unescape(s[1 : end-1]), s[end:]
		}
		s = s[1:]
	}
	n := strings.IndexAny(s, "; \t\r\n")
	if n < 0 {
		n = len(s)
	}
	return s[:n], s[n:]
}
