// Package checker compares what was accepted with what was delivered.
package checker

import (
	"fmt"
	"strings"

	"github.com/mlist/mlist/test/tools/sink"
)

// Accepted is a message that was answered with 250, and who must get it.
type Accepted struct {
	MessageID  string
	Recipients []string
}

// Report is what a comparison found.
type Report struct {
	Expected   int      // deliveries that were due
	Lost       []string // "MESSAGE-ID RECIPIENT" that never came
	Explained  int      // duplicates whose earlier transaction's reply was in flight
	Unexpected []string // duplicates that nothing explains, and deliveries that were not due
}

// OK tells whether nothing was lost and nothing came twice without a reason.
func (r Report) OK() bool { return len(r.Lost)+len(r.Unexpected) == 0 }

// String says it in a few lines.
func (r Report) String() string {
	s := fmt.Sprintf("%d deliveries due, %d lost, %d doubled with their reply in flight, %d wrong",
		r.Expected, len(r.Lost), r.Explained, len(r.Unexpected))
	for _, list := range [][]string{r.Lost, r.Unexpected} {
		if len(list) > 0 {
			s += "\n  " + strings.Join(list[:min(len(list), 10)], "\n  ")
		}
	}
	return s
}

// Compare holds each accepted message against the transactions that a sink kept. A delivery
// may come again only if every earlier one was in a transaction whose final reply the
// client may not have seen.
func Compare(accepted []Accepted, transactions []sink.Transaction) Report {
	type delivery struct {
		times     int
		confirmed int
	}
	got := map[string]*delivery{}
	for _, m := range transactions {
		for _, rcpt := range m.Recipients {
			key := strings.Trim(m.MessageID, "<>") + " " + rcpt
			d := got[key]
			if d == nil {
				d = &delivery{}
				got[key] = d
			}
			if d.confirmed > 0 {
				d.confirmed++ // came again although the first was settled
			} else if m.Confirmed {
				d.confirmed = 1
			}
			d.times++
		}
	}
	var r Report
	for _, a := range accepted {
		for _, rcpt := range a.Recipients {
			r.Expected++
			key := strings.Trim(a.MessageID, "<>") + " " + rcpt
			d := got[key]
			delete(got, key)
			switch {
			case d == nil:
				r.Lost = append(r.Lost, key)
			case d.confirmed > 1:
				r.Unexpected = append(r.Unexpected, fmt.Sprintf("%s came %d times, again after its reply was seen", key, d.times))
			case d.times > 1:
				r.Explained += d.times - 1
			}
		}
	}
	for key := range got {
		r.Unexpected = append(r.Unexpected, key+" was not due")
	}
	return r
}
