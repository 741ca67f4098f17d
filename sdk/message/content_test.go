package message_test

import (
	"testing"

	"github.com/mlist/mlist/sdk/message"
)

func TestText(t *testing.T) {
	for _, tt := range []struct{ name, header, body, want string }{
		{"as it is", "A: 1\n", "hi\r\n", "hi\r\n"},
		{"8 bits of no charset", "A: 1\n", "caf\xe9", "café"},
		{"a charset", "Content-Type: text/plain; charset=koi8-r\n", "\xf0\xd2\xc9", "При"},
		{"no charset", "Content-Type: text/plain; charset=klingon\n", "\xc3\xa9", "é"},
		{"UTF-16", "Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n", "aABpAA==", "hi"},
		{"base64 with junk", "Content-Transfer-Encoding: base64\n", "a G\r\nk-=", "hi"},
		{"base64 that goes on after its end", "Content-Transfer-Encoding: base64\n", "aGk=aGk=", "hihi"},
		{"quoted-printable", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n", "a=C3=A9= \r\nb \t\r\n=\n=3D=3d=zz=", "aéb\r\n==\x3dzz"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, b, root, _ := parse(t, tt.header+"\n"+tt.body)
			got, cut, err := root.Text(b, 1000)
			if err != nil || cut || got != tt.want {
				t.Errorf("%q, %t, %v", got, cut, err)
			}
		})
	}
	_, b, root, _ := parse(t, "A: 1\n\nhello")
	if got, cut, err := root.Text(b, 2); got != "he" || !cut || err != nil {
		t.Errorf("%q, %t, %v", got, cut, err)
	}
	root.End = 100
	if _, _, err := root.Content(message.NewBody(broken{}, 0, 100), 10); err == nil {
		t.Error("no error")
	}
}
