package decorate

import (
	"bytes"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/text"
)

// personalField is a placeholder of a setting that stands for something of each member's.
type personalField struct {
	name  string // of the placeholder
	ascii string // what stands for it in a post
	qp    string // and in quoted-printable
	other string // and there, where the charset is not UTF-8
	html  string // and in HTML that is not encoded
}

// countPersonal tells how many placeholders for something of each member's a setting has: of
// too many mlist would make no copies, and the post would never be delivered.
func countPersonal(setting string) int {
	n := 0
	for _, name := range text.Personal {
		n += strings.Count(setting, "%("+name+")")
	}
	return n
}

// personalFields are those that a post may have: none if all members get the same copy, from
// which the lines with such a placeholder are left out.
func personalFields(p *sdk.Post) ([]personalField, error) {
	if !p.IsPersonal() {
		return nil, nil
	}
	var out []personalField
	for _, x := range []struct {
		name  string
		field sdk.Field
	}{
		{"user_address", sdk.FieldAddress}, {"user_delivered_to", sdk.FieldAddress},
		{"user_name", sdk.FieldName}, {"user_name_or_address", sdk.FieldNameOrAddress},
	} {
		f := personalField{name: x.name}
		for _, y := range []struct {
			to       *string
			encoding sdk.Encoding
		}{{&f.ascii, sdk.EncodeASCII}, {&f.qp, sdk.EncodeQP}, {&f.other, sdk.EncodeQPASCII}, {&f.html, sdk.EncodeHTML}} {
			var err error
			if *y.to, err = p.Personal(x.field, y.encoding); err != nil {
				return nil, err
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// quote makes the placeholder one of quoted-printable, and puts a soft line break that came
// within it behind it.
func (f personalField) quote(charset string, text []byte) []byte {
	const soft = "=\r\n"
	for i := 1; i < len(f.ascii); i++ {
		text = bytes.ReplaceAll(text, []byte(f.ascii[:i]+soft+f.ascii[i:]), []byte(f.ascii+soft))
	}
	quoted := f.other
	if strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8") {
		quoted = f.qp
	}
	return bytes.ReplaceAll(text, []byte(f.ascii), []byte(quoted))
}
