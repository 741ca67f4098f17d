package trace

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// maxLine bounds a line with its end, so that a reader knows what it must hold.
	maxLine = 8 << 10
	// maxText bounds one string: replies and reasons come from outside.
	maxText  = 1000
	timeForm = "2006-01-02T15:04:05.000000Z07:00"
)

// appendEvent appends one line. A value for which there is no room is left out, and the
// line then says "cut":true.
func appendEvent(b []byte, now time.Time, entry, list, kind string, args []any) []byte {
	start := len(b)
	b = append(b, `{"time":"`...)
	b = now.AppendFormat(b, timeForm)
	b = append(b, `","entry":`...)
	b = appendString(b, entry)
	b = append(b, `,"kind":`...)
	b = appendString(b, kind)
	b = append(b, `,"list":`...)
	b = appendString(b, list)
	const end = `,"cut":true}` + "\n"
	cut := false
	for i := 0; i+1 < len(args); i += 2 {
		before := len(b)
		b = append(b, ',')
		b = appendString(b, fmt.Sprint(args[i]))
		b = append(b, ':')
		b = appendValue(b, args[i+1])
		if len(b)-start > maxLine-len(end) {
			b, cut = b[:before], true
		}
	}
	if cut {
		return append(b, end...)
	}
	return append(b, "}\n"...)
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case bool:
		return strconv.AppendBool(b, v)
	case time.Time:
		b = append(b, '"')
		b = v.UTC().AppendFormat(b, timeForm)
		return append(b, '"')
	case error:
		return appendString(b, v.Error())
	case []string:
		b = append(b, '[')
		for i, s := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, s)
		}
		return append(b, ']')
	}
	text, err := json.Marshal(v)
	if err != nil {
		return appendString(b, "("+err.Error()+")") // a value that has no form, and must not cost the event
	}
	return append(b, text...)
}

// appendString appends a JSON string of at most maxText octets of s.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	cut := len(s) > maxText
	if cut {
		s = s[:maxText]
		for i := 0; i < utf8.UTFMax && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]); i++ {
			s = s[:len(s)-1] // the last character may have been cut
		}
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		case r == '\u2028' || r == '\u2029':
			b = append(b, `\u202`...)
			b = append(b, hex[r&15])
		default:
			b = utf8.AppendRune(b, r) // what is not UTF-8 becomes U+FFFD
		}
	}
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}
