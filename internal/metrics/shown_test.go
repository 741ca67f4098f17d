package metrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// etc is where the dashboard and the alert rules are.
var etc = filepath.Join("..", "..", "etc")

// known are the metrics that there are, as queries name them, and their labels.
func known() map[string][]string {
	out := map[string][]string{
		"up": nil, "process_resident_memory_bytes": nil, "process_cpu_seconds_total": nil, "go_goroutines": nil,
	}
	for _, d := range New().Table() {
		switch d.Type {
		case "summary":
			out[d.Name], out[d.Name+"_sum"], out[d.Name+"_count"] = slices.Concat(d.Labels, []string{"quantile"}), d.Labels, d.Labels
			continue
		case "counter", "gauge":
			out[d.Name] = d.Labels
			continue
		}
		for suffix, more := range map[string][]string{"_bucket": {"le"}, "_sum": nil, "_count": nil} {
			out[d.Name+suffix] = slices.Concat(d.Labels, more)
		}
	}
	return out
}

var (
	named    = regexp.MustCompile(`\b(?:mlist|process|go)_[a-z0-9_]+|\bup\b`)
	selector = regexp.MustCompile(`([a-z_0-9]+)\{([^{}]*)\}`)
	matcher  = regexp.MustCompile(`^\s*([a-z_]+)\s*(?:=~|!~|!=|=)\s*"[^"]*"\s*$`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
	told     = regexp.MustCompile(`\{\{\s*\$?(?:labels\.)?([a-z_]+)`)
	quoted   = regexp.MustCompile(`"[^"]*"`)
)

// query checks an expression, and returns the metrics that it names and the labels that
// what it gives can have.
func query(t *testing.T, where, expr string) (metrics, labels []string) {
	t.Helper()
	all := known()
	labels = []string{"instance", "job"}
	for _, name := range named.FindAllString(quoted.ReplaceAllString(expr, `""`), -1) {
		have, ok := all[name]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, name)
		}
		metrics, labels = append(metrics, name), append(labels, have...)
	}
	if len(metrics) == 0 {
		t.Errorf("%s: %q names no metric", where, expr)
	}
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		for part := range strings.SplitSeq(m[2], ",") {
			l := matcher.FindStringSubmatch(part)
			if l == nil || l[1] != "instance" && l[1] != "job" && !slices.Contains(all[m[1]], l[1]) {
				t.Errorf("%s: %s has no label as in %q", where, m[1], part)
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(g[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(l)) {
				t.Errorf("%s: nothing in %q has the label %s", where, expr, l)
			}
		}
	}
	bare := quoted.ReplaceAllString(expr, "")
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(bare, pair[:1]) != strings.Count(bare, pair[1:]) {
			t.Errorf("%s: %s do not match in %q", where, pair, expr)
		}
	}
	return metrics, labels
}

// mentions checks that a text shows only labels that there are.
func mentions(t *testing.T, where, text string, labels []string) {
	t.Helper()
	for _, m := range told.FindAllStringSubmatch(text, -1) {
		if m[1] != "value" && !slices.Contains(labels, m[1]) {
			t.Errorf("%s: no label %s in what %q is about", where, m[1], text)
		}
	}
}

func rules(t *testing.T) (metrics []string) {
	t.Helper()
	path := filepath.Join(etc, "prometheus", "mlist.rules.yml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			names, labels := query(t, r.Alert, r.Expr)
			metrics = append(metrics, names...)
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Mlist") {
				t.Errorf("the name %s", r.Alert)
			}
			seen[r.Alert] = true
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			for _, key := range []string{"summary", "description"} {
				if r.Annotations[key] == "" {
					t.Errorf("%s has no %s", r.Alert, key)
				}
				mentions(t, r.Alert, r.Annotations[key], labels)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("%d rules", len(seen))
	}
	tried := filepath.Join("testdata", "rules_test.yml")
	series, err := os.ReadFile(tried)
	if err != nil {
		t.Fatal(err)
	}
	for name := range seen {
		if !strings.Contains(string(series), `alertname="`+name+`"`) {
			t.Errorf("nothing in %s makes %s fire", tried, name)
		}
	}
	if promtool, err := exec.LookPath("promtool"); err == nil { // its own opinion, where it is
		for _, args := range [][]string{{"check", "rules", path}, {"test", "rules", tried}} {
			if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
				t.Errorf("promtool %v: %v: %s", args, err, out)
			}
		}
	}
	return metrics
}

func dashboard(t *testing.T) (metrics []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(etc, "grafana", "mlist.json"))
	if err != nil {
		t.Fatal(err)
	}
	type position struct{ X, Y, W, H int }
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos position
			Targets []struct{ Expr, LegendFormat, RefID string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
		Templating  struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	ids, places := map[int]bool{}, []position{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, o := range places {
			if g := p.GridPos; g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H || g.X+g.W > 24 {
				t.Errorf("panel %q lies over another, or over the edge", p.Title)
			}
		}
		places = append(places, p.GridPos)
		for _, q := range p.Targets {
			names, labels := query(t, p.Title, q.Expr)
			metrics = append(metrics, names...)
			mentions(t, p.Title, q.LegendFormat, labels)
		}
	}
	for _, a := range d.Annotations.List {
		names, _ := query(t, a.Name, a.Expr)
		metrics = append(metrics, names...)
	}
	if len(metrics) < 40 {
		t.Errorf("the dashboard shows %d metrics", len(metrics))
	}
	return metrics
}

// Every metric that dashboard and alerts name is there, and every one that is there is shown
// by one of them, or it is told here why not.
func TestDashboardAndAlertsShowWhatThereIs(t *testing.T) {
	unshown := map[string]string{
		"mlist_queue_chunks":               "recipients tell more",
		"mlist_disk_free_inodes":           "not every file system has a number of them",
		"mlist_list_entries_total":         "off unless metrics.lists says otherwise",
		"mlist_list_recipients_total":      "likewise",
		"mlist_plugin_counted_total":       "handlers of one's own count what they like",
		"mlist_plugin_call_seconds":        "stages tell more; for handlers of one's own",
		"mlist_config_last_reload_seconds": "for who wonders",
		"mlist_config_reloads_total":       "the last one is what matters",
		"mlist_pipeline_recipients_total":  "of outbound tells what becomes of them",
	}
	shown := map[string]bool{}
	for _, name := range slices.Concat(rules(t), dashboard(t)) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok {
				shown[base] = true
			}
		}
	}
	for _, d := range New().Table() {
		if _, excused := unshown[d.Name]; !shown[d.Name] && !excused {
			t.Errorf("nothing shows %s", d.Name)
		}
	}
}
