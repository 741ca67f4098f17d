package docs

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/metrics"
)

var writeMetrics = flag.Bool("write-metrics", false, "write the table of metrics again: make generate")

//go:generate go test -count=1 -run TestTheMetricsAreThoseOfTheCode . -write-metrics

func TestTheMetricsAreThoseOfTheCode(t *testing.T) {
	const begin, end = "<!-- metrics: made from the code, by `make generate` -->\n", "<!-- /metrics -->\n"
	text, err := os.ReadFile("watching.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("the page has no place for the table")
	}
	want := metrics.Markdown(metrics.New().Table())
	if *writeMetrics {
		if err := os.WriteFile("watching.md", []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Errorf("the table is not what the code says: make generate")
	}
}

// What the page says of defaults is what they are.
func TestThePageOnWatchingTellsTheDefaults(t *testing.T) {
	text, err := os.ReadFile("watching.md")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	for _, want := range []string{
		"by default `" + c.Metrics.Listen + "`", "`spool.min_free` (" + c.Spool.MinFree.String() + ")",
		"| `keep` | " + strings.TrimSuffix(c.Trace.Keep.String(), "d") + " days", "| `max_size` | " + c.Trace.MaxSize.String(),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
