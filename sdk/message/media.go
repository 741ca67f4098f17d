package message

import (
	"mime"
	"strings"
)

// parseMedia reads a Content-Type value: type in lower case and parameters. What says
// nothing usable is otherwise (RFC 2045 5.2: plain text).
func parseMedia(value, otherwise string) (string, map[string]string) {
	if value == "" {
		return otherwise, nil
	}
	if t, params, err := mime.ParseMediaType(value); err == nil && strings.IndexByte(t, '/') > 0 {
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
// parameters of one name counts.
func parseParams(s string) map[string]string {
	params := make(map[string]string)
	for s != "" {
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
		value, s = paramValue(skipCFWS(rest))
		if name = strings.ToLower(name); len(params) < 100 {
			if _, seen := params[name]; !seen {
				params[name] = value
			}
		}
	}
	return params
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
