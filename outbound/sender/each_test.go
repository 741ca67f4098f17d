package sender

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/outbound/internal/fakemta"
)

// copies are transactions to recipients a, b, c ... and what became of them.
type copies struct {
	names string
	next  int
	size  int
	got   string
	stop  int // Done fails then; 0 is never
}

var errStop = errors.New("stop")

func (e *copies) Next() *Transaction {
	if e.next == len(e.names) {
		return nil
	}
	name := e.names[e.next : e.next+1]
	e.next++
	content := "Subject: " + name + "\r\n\r\n.dots\r\n" + strings.Repeat(name+"\r\n", e.size)
	to := name + "@m.test"
	if name == "!" {
		to = "<>\r\nDATA"
	}
	return &Transaction{From: "dev-bounces+" + name + "@lists.test", Recipients: []string{to},
		Content: strings.NewReader(content), Size: int64(len(content))}
}

func (e *copies) Done(r Recipient) error {
	e.got += strings.ToUpper(r.Outcome.String()[:1])
	if len(e.got) == e.stop {
		return errStop
	}
	return nil
}

func TestEachCopy(t *testing.T) {
	at := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]+"@m.test"] = kv[i+1]
		}
		return m
	}
	tests := []struct {
		name   string
		script fakemta.Script
		to     string
		size   int
		stop   int
		want   string
		taken  string // by the server
		kind   Kind
	}{
		{"all are accepted", fakemta.Script{}, "abcd", 0, 0, "AAAA", "abcd", 0},
		{"none at all", fakemta.Script{}, "", 0, 0, "", "", 0},
		{"one", fakemta.Script{}, "a", 0, 0, "A", "a", 0},
		{"large ones", fakemta.Script{}, "abc", 50_000, 0, "AAA", "abc", 0},
		{"the first RCPT is refused", fakemta.Script{Rcpt: at("a", "550 5.1.1 no")}, "abc", 0, 0, "RAA", "bc", 0},
		{"RCPTs get 4xx and 5xx", fakemta.Script{Rcpt: at("b", "550 5.1.1 no", "c", "450 4.2.1 later")}, "abcd", 0, 0, "ARDA", "ad", 0},
		{"the last RCPT is refused", fakemta.Script{Rcpt: at("c", "550 5.1.1 no")}, "abc", 0, 0, "AAR", "ab", 0},
		{"a server that starts DATA for nobody", fakemta.Script{Rcpt: at("b", "550 5.1.1 no"), Empty: "554 5.5.1 nobody"}, "abc", 0, 0, "ARA", "ac", 0},
		{"a content is refused", fakemta.Script{Finals: at("b", "554 5.6.0 no")}, "abc", 0, 0, "ARA", "ac", 0},
		{"a content is deferred", fakemta.Script{Finals: at("a", "451 4.3.0 later")}, "abc", 0, 0, "DAA", "bc", 0},
		{"addresses that cannot be sent", fakemta.Script{}, "!a!!b!", 0, 0, "RARRAR", "ab", 0},
		{"MAIL gets 4xx", fakemta.Script{Mail: "451 4.3.0 later"}, "ab", 0, 0, "DD", "", 0},
		{"DATA gets 4xx", fakemta.Script{Data: "451 4.3.0 later"}, "ab", 0, 0, "DD", "", 0},
		{"421 after a content", fakemta.Script{Finals: at("b", "421 4.3.2 going down")}, "abc", 0, 0, "A", "a", Unavailable},
		{"no reply to a content", fakemta.Script{Finals: at("b", fakemta.Drop)}, "abc", 0, 0, "AU", "a", Unknown},
		{"the connection drops at RCPT", fakemta.Script{Rcpt: at("b", fakemta.Drop)}, "abc", 0, 0, "A", "a", Lost},
		{"Done wants no more", fakemta.Script{}, "abcd", 0, 2, "AA", "ab", 0},
	}
	for _, tt := range tests {
		for _, inTurn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in turn %t", tt.name, inTurn), func(t *testing.T) {
				script := tt.script
				script.NoPipelining = inTurn
				s := fakemta.Start(t, "", script)
				c := dialed(t, config(s.Addr))
				e := &copies{names: tt.to, size: tt.size, stop: tt.stop}
				err := c.SendEach(t.Context(), e)
				var failed *Error
				switch errors.As(err, &failed); {
				case tt.stop > 0:
					if !errors.Is(err, errStop) {
						t.Errorf("error %v", err)
					}
				case tt.kind == 0 && err != nil, tt.kind != 0 && (failed == nil || failed.Kind != tt.kind):
					t.Errorf("error %v", err)
				}
				if e.got != tt.want {
					t.Errorf("got %s, want %s", e.got, tt.want)
				}
				var taken []string
				for _, m := range s.Messages() {
					if len(m.Recipients) == 1 && (m.Answer == "" || m.Answer[0] == '2') {
						name := m.Recipients[0][:1]
						taken = append(taken, name)
						if want := "Subject: " + name + "\r\n\r\n.dots\r\n" + strings.Repeat(name+"\r\n", tt.size); m.Content != want {
							t.Errorf("%s got %.100q", name, m.Content)
						}
						if !strings.HasPrefix(m.From, "<dev-bounces+"+name+"@lists.test>") {
							t.Errorf("%s came from %s", name, m.From)
						}
					}
				}
				slices.Sort(taken)
				if got := strings.Join(taken, ""); got != tt.taken {
					t.Errorf("the server took %q, want %q", got, tt.taken)
				}
				if c.Usable() != (err == nil) {
					t.Errorf("usable %t after %v", c.Usable(), err)
				}
				if err == nil { // and goes on
					s.Set(fakemta.Script{})
					if res, err := c.Send(t.Context(), message("z@m.test")); err != nil || res.Accepted != 1 {
						t.Errorf("after it: %+v, %v", res, err)
					}
				}
			})
		}
	}
}

func TestXVERPWhereItIsOffered(t *testing.T) {
	for _, offered := range []bool{false, true} {
		var script fakemta.Script
		if offered {
			script.Extensions = []string{"XVERP"}
		}
		s := fakemta.Start(t, "", script)
		c := dialed(t, config(s.Addr))
		m := message("a@m.test", "b@m.test")
		m.XVERP = true
		if res, err := c.Send(t.Context(), m); err != nil || res.Accepted != 2 {
			t.Fatalf("%+v, %v", res, err)
		}
		from := s.Messages()[0].From
		if strings.Contains(from, " XVERP=+=") != offered || c.XVERP() != offered {
			t.Errorf("offered %t, MAIL FROM:%s", offered, from)
		}
	}
}
