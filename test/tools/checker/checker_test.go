package checker

import (
	"testing"

	"github.com/mlist/mlist/test/tools/sink"
)

func TestCompare(t *testing.T) {
	due := []Accepted{{"<1>", []string{"a", "b"}}}
	mail := func(confirmed bool, rcpts ...string) sink.Transaction {
		return sink.Transaction{MessageID: "<1>", Recipients: rcpts, Confirmed: confirmed}
	}
	tests := []struct {
		name                   string
		mails                  []sink.Transaction
		lost, explained, wrong int
	}{
		{"each came once", []sink.Transaction{mail(true, "a", "b")}, 0, 0, 0},
		{"one is lost", []sink.Transaction{mail(true, "a")}, 1, 0, 0},
		{"one came twice, its reply in flight", []sink.Transaction{mail(false, "a", "b"), mail(true, "b")}, 0, 1, 0},
		{"one came twice after its reply was seen", []sink.Transaction{mail(true, "a", "b"), mail(true, "b")}, 0, 0, 1},
		{"one came thrice, the last two after a seen reply", []sink.Transaction{mail(false, "a", "b"), mail(true, "b"), mail(false, "b")}, 0, 0, 1},
		{"one was not due", []sink.Transaction{mail(true, "a", "b", "c")}, 0, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Compare(due, tt.mails)
			if len(r.Lost) != tt.lost || r.Explained != tt.explained || len(r.Unexpected) != tt.wrong {
				t.Errorf("%s", r)
			}
		})
	}
}
