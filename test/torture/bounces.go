package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mlist/mlist/test/tools/inject"
)

// Two members of each list bounce: the MTA refuses one at RCPT, the other's provider sends
// reports.
const (
	refused  = "refused@gone.test"
	reported = "reported@gone.test"
)

// reports hands reports of the member over until stop is closed, as the world would: from
// nobody, to the lists' bounce addresses.
func (w *world) reports(ctx context.Context, stop <-chan struct{}) error {
	var mu sync.Mutex
	var to []string
	for _, l := range w.lists {
		to = append(to, strings.Replace(l, "@", "-bounces@", 1))
	}
	r, err := inject.Run(ctx, inject.Options{
		Stop: stop, Addr: "unix:" + w.daemons[0].LMTP, Lists: to, Messages: 1 << 30, Connections: 2, Pause: 50 * time.Millisecond, Tag: "report",
		Text: report,
		Accepted: func(_, list string, _ time.Duration) {
			mu.Lock()
			w.reported[strings.Replace(list, "-bounces@", "@", 1)]++
			mu.Unlock()
		},
	})
	w.again = r.Retries
	return err
}

// report is the n-th report (RFC 3464).
func report(n int, to string) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: MAILER-DAEMON@gone.test
To: %s
Subject: Undelivered mail
Message-ID: <%d.report@gone.test>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

Not delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; gone.test

Final-Recipient: rfc822; %s
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user, report %d.

--b--
`, to, n, reported, n), "\n", "\r\n")
}

// checkBounces holds what the lists know of the two against what came: each refusal of each
// post is filed once. So is each report, but for those that were handed over again since
// their reply did not come: no score moves twice a day.
func (w *world) checkBounces(ctx context.Context) (total int, err error) {
	for _, list := range w.lists {
		for who, want := range map[string]int{refused: w.posts[list], reported: w.reported[list]} {
			var events []struct{ Post, Text, Status string }
			if err := w.ask(ctx, &events, "bounce", "show", list, who, "--json", "--limit", "1000000"); err != nil {
				return 0, err
			}
			seen := map[string]bool{}
			for _, e := range events {
				what := e.Post + " " + e.Text
				if who == reported && seen[what] && w.again > 0 {
					w.again--
					continue
				}
				if e.Status != "5.1.1" || seen[what] {
					return 0, fmt.Errorf("%s knows of a bounce of %s that did not happen, or twice: %+v", list, who, e)
				}
				seen[what] = true
			}
			if len(seen) != want {
				return 0, fmt.Errorf("%s knows of %d bounces of %s, and there were %d", list, len(seen), who, want)
			}
			total += want
		}
	}
	return total, nil
}
