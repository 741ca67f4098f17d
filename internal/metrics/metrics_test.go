package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is what a reader gets.
func text(t *testing.T, m *Metrics) string {
	t.Helper()
	var b strings.Builder
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWhatIsCountedCanBeRead(t *testing.T) {
	m := New()
	m.LMTPD.Reply("RCPT", 550)
	m.LMTPD.Reply("DATA", 250)
	m.LMTPD.Kept(1000, 2*time.Millisecond)
	m.LMTPD.StoreError()
	m.Milter.Verdict("rcpt", "reject", time.Millisecond)
	m.Pipeline.Entry("dev@lists.test", "held")
	m.Pipeline.Accepted("dev@lists.test", time.Second, 70)
	m.Pipeline.Stage("posting", "accept", time.Millisecond)
	m.Pipeline.Bounce("mailbox")
	m.Outbound.Transaction(70, 2, 1, 1, time.Second, time.Minute)
	m.Outbound.Reply(450)
	m.Outbound.Reply(599)
	m.Outbound.Nothing()
	m.Reloads.Reload(nil, time.Second)
	m.Reloads.Reload(errors.New("no"), time.Second)
	up := false
	m.Ask(func() State {
		return State{
			Version: "1.2", Daemons: map[string]bool{"lmtpd": true}, Connections: map[string]int{"lmtpd": 3}, Counted: time.Now(),
			Queues: []Queue{{Name: "incoming", Entries: 5, Oldest: time.Now().Add(-time.Hour)}, {Name: "outgoing", Recipients: 9}},
			Plugins: []Plugin{{Name: "standard", Up: true, Restarts: 2, Calls: 7, P99: time.Second, Spent: 3 * time.Second, Counts: map[string]int64{"held \xff": 3}},
				{Name: "standard"}, {Name: "\xff"}}, Unserved: map[string]float64{"bounces": 0.5},
			Disks: []Disk{{Of: "spool", Free: 10, Total: 100, FreeFiles: 1000}}, MTAUp: &up, MTALimit: 8, Full: true,
		}
	})
	have := text(t, m)
	for _, want := range []string{
		`mlist_lmtpd_replies_total{code="550",command="RCPT"} 1`, `mlist_lmtpd_kept_bytes_total 1000`, `mlist_lmtpd_store_errors_total 1`,
		`mlist_milter_verdicts_total{step="rcpt",verdict="reject"} 1`, `mlist_pipeline_entries_total{outcome="held"} 1`, `mlist_pipeline_entries_total{outcome="accepted"} 1`,
		`mlist_pipeline_wait_seconds_bucket{le="1"} 1`, `mlist_pipeline_wait_seconds_bucket{le="0.5"} 0`, `mlist_pipeline_recipients_total 70`,
		`mlist_stage_verdicts_total{stage="posting",verdict="accept"} 1`, `mlist_bounces_total{class="mailbox"} 1`,
		`mlist_outbound_recipients_total{outcome="accepted"} 70`, `mlist_outbound_recipients_total{outcome="expired"} 1`, `mlist_outbound_replies_total{code="250"} 70`,
		`mlist_outbound_replies_total{code="450"} 1`, `mlist_outbound_replies_total{code="5xx"} 1`, `mlist_outbound_transactions_total{result="nothing"} 1`,
		`mlist_config_reloads_total{result="failure"} 1`, `mlist_config_last_reload_success 0`, `mlist_build_info{go="`, `mlist_ready{daemon="lmtpd"} 1`,
		`mlist_queue_entries{queue="incoming"} 5`, `mlist_queue_oldest_seconds{queue="incoming"} 3600`, `mlist_queue_recipients 9`,
		`mlist_queue_unserved_ratio{queue="bounces"} 0.5`, `mlist_plugin_restarts_total{plugin="standard"} 2`, `mlist_plugin_call_seconds{plugin="standard",quantile="0.99"} 1`,
		`mlist_plugin_call_seconds_sum{plugin="standard"} 3`, `mlist_plugin_call_seconds_count{plugin="standard"} 7`,
		`mlist_plugin_counted_total{counter="held ?",plugin="standard"} 3`, `mlist_plugin_up{plugin="?"} 0`, `mlist_trouble{daemon="lmtpd"} 0`,
		`mlist_disk_free_bytes{of="spool"} 10`, `mlist_spool_full 1`, `mlist_mta_up 0`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(have, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
	// What promtool check metrics says.
	if wrong, err := promlint.New(strings.NewReader(have)).Lint(); err != nil || len(wrong) > 0 {
		t.Errorf("Prometheus' own names and types: %v, %v", wrong, err)
	}
	if got, want := m.Totals(), (Totals{Taken: 1, Refused: 1, Prepared: 1, Held: 1, Delivered: 70, Deferred: 2, Bounced: 2}); got != want {
		t.Errorf("totals %+v, want %+v", got, want)
	}
	if t.Failed() {
		t.Log(have)
	}
}

// Labels have words of ours alone: what others say becomes "other".
func TestStrangersCannotMakeSeries(t *testing.T) {
	m := New()
	for _, word := range []string{"ann@net.test", "x\n", ""} {
		m.LMTPD.Reply(word, 123456)
		m.Milter.Verdict(word, word, 0)
		m.Pipeline.Entry(word, word)
		m.Pipeline.Bounce(word)
		m.Pipeline.Stage("posting", word, 0)
	}
	for n := range 1000 {
		m.Outbound.Reply(n)
	}
	have := text(t, m)
	if strings.Contains(have, "ann@") {
		t.Error("an address is in a label")
	}
	if n := strings.Count(have, "\nmlist_outbound_replies_total{"); n > 40 {
		t.Errorf("%d series of replies", n)
	}
}

func TestListsAreCountedWhereWantedAndNoMoreThanThat(t *testing.T) {
	m := New()
	m.CountLists(2)
	for _, l := range []string{"a@l.test", "b@l.test", "c@l.test", "d@l.test", "a@l.test"} {
		m.Pipeline.Accepted(l, time.Second, 10)
	}
	m.Pipeline.Entry("b@l.test", "held")
	have := text(t, m)
	for _, want := range []string{
		`mlist_list_entries_total{list="a@l.test",outcome="accepted"} 2`, `mlist_list_entries_total{list="b@l.test",outcome="held"} 1`,
		`mlist_list_entries_total{list="other",outcome="accepted"} 2`, `mlist_list_recipients_total{list="a@l.test"} 20`,
	} {
		if !strings.Contains(have, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(have, "c@l.test") {
		t.Error("a third list is counted")
	}
	m.CountLists(0)
	m.Pipeline.Entry("b@l.test", "held")
	if !strings.Contains(text(t, m), `mlist_list_entries_total{list="b@l.test",outcome="held"} 1`) {
		t.Error("lists are counted that are not wanted any more")
	}
}

func TestTheTableHasWhatIsShown(t *testing.T) {
	m := New()
	rule := regexp.MustCompile(`^mlist_[a-z0-9]+(_[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, d := range m.Table() {
		if seen[d.Name] || !rule.MatchString(d.Name) || !strings.HasSuffix(d.Help, ".") || strings.Contains(d.Help, "|") {
			t.Errorf("%+v", d)
		}
		if (d.Type == "counter") != strings.HasSuffix(d.Name, "_total") || d.Type == "histogram" && !strings.HasSuffix(d.Name, "_seconds") {
			t.Errorf("%s: a %s is called otherwise", d.Name, d.Type)
		}
		seen[d.Name] = true
	}
	for line := range strings.Lines(text(t, m)) {
		if name, ok := strings.CutPrefix(line, "# TYPE mlist_"); ok && !seen["mlist_"+strings.Fields(name)[0]] {
			t.Errorf("the table lacks mlist_%s", name)
		}
	}
}

func TestTheLastMinute(t *testing.T) {
	var r Rates
	now := time.Now()
	if got := r.Minute(Totals{Taken: 5}); got.Taken != 5 {
		t.Errorf("before the first sample: %+v", got)
	}
	for i := range 100 { // each adds 1
		r.Sample(now.Add(time.Duration(i)*SampleEvery), Totals{Taken: int64(i), Delivered: 10 * int64(i)})
	}
	if got := r.Minute(Totals{Taken: 100, Delivered: 1000}); got.Taken != int64(minuteSamples) || got.Delivered != 10*int64(minuteSamples) {
		t.Errorf("%+v", got)
	}
}

func TestTroubleIsToldWhileItLasts(t *testing.T) {
	m := New()
	if got := m.Troubles(); len(got) != 0 {
		t.Errorf("at first: %v", got)
	}
	m.Pipeline.Trouble(errors.New("it is locked"))
	first := m.Troubles()["pipeline"]
	m.Pipeline.Trouble(errors.New("it is full"))
	m.LMTPD.Trouble(nil)
	if got := m.Troubles(); len(got) != 1 || got["pipeline"].Why != "it is full" || got["pipeline"].Since != first.Since || first.Since.IsZero() {
		t.Errorf("%+v, first %+v", got, first)
	}
	m.LMTPD.Trouble(errors.New("for a moment"))
	m.LMTPD.lasts = 0 // which is over
	m.Pipeline.Trouble(nil)
	if got := m.Troubles(); len(got) != 0 {
		t.Errorf("at the end: %v", got)
	}
}

func TestThePages(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := HealthOf([]Check{{Name: "store", Reason: "it is locked"}, {Name: "spool", OK: true}})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- Serve(ctx, l, Pages{Metrics: New(), Alive: func() Health { return HealthOf(nil) }, Ready: func() Health { return ready }})
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	get := func(method, path string, status int) string {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+path, nil)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status {
			t.Errorf("%s %s: %v %v", method, path, res.Status, err)
		}
		return string(body)
	}
	if got := get("GET", "/metrics", 200); !strings.Contains(got, "# TYPE mlist_lmtpd_kept_total counter") {
		t.Errorf("metrics: %.300s", got)
	}
	get("GET", "/healthz", 200)
	var h Health
	if err := json.Unmarshal([]byte(get("GET", "/readyz", 503)), &h); err != nil || h.OK || !slices.Equal(h.Checks, ready.Checks) {
		t.Errorf("readyz: %+v %v", h, err)
	}
	get("POST", "/metrics", 405)
	get("GET", "/", 404)

	// One who says nothing does not keep it from ending.
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /met")
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}
