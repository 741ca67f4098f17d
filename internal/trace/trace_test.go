package trace

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const entry = "aaaqeayeaudaocaj"

// A process that appends, for the test of several.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TRACE_DIR"); dir != "" {
		j := New(dir, Options{})
		for i := range 2000 {
			j.Trace(os.Getenv("TRACE_ENTRY"), "dev@lists.test", Sent, "n", i, "text", strings.Repeat("x", i%900))
		}
		j.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func events(t testing.TB, dir, what string) []Event {
	t.Helper()
	var out []Event
	for e, err := range Find(t.Context(), dir, what) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func kinds(all []Event) string {
	var out []string
	for _, e := range all {
		out = append(out, e.Entry[:1]+" "+e.Kind)
	}
	return strings.Join(out, ", ")
}

func id(letter string) string { return strings.Repeat(letter, 16) }

// at makes a journal whose clock stands where *now says.
func at(dir string, opts Options, now *time.Time) *Journal {
	j := New(dir, opts)
	j.now = func() time.Time { return *now }
	return j
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trace")
	now := time.Date(2026, 11, 24, 12, 0, 0, 123456000, time.FixedZone("", 3600))
	j := at(dir, Options{}, &now)
	defer j.Close()
	j.Trace(entry, "dev@lists.test", Kept, KeyMessageID, "<1@net.test>", "size", int64(1234), "flags", []string{"8bitmime", "x\"y"},
		"due", now, "err", errors.New("no\nspace\x00 \xff ü"), "ok", true, "stages", []Stage{{"loop", "accept", 12}}, "bad", func() {})
	all := events(t, dir, entry)
	if len(all) != 1 {
		t.Fatalf("%d events", len(all))
	}
	e := all[0]
	if !e.Time.Equal(now) || e.Entry != entry || e.Kind != Kept || e.List != "dev@lists.test" {
		t.Errorf("%+v", e)
	}
	want := map[string]string{"message_id": "<1@net.test>", "size": "1234", "flags": `[8bitmime x"y]`, "due": "2026-11-24T11:00:00.123456Z",
		"err": "no\nspace\x00 \ufffd ü", "ok": "true", "stages": "[map[stage:loop took_us:12 verdict:accept]]", "bad": "(json: unsupported type: func())"}
	for key, v := range want {
		if got := fmt.Sprint(e.Fields[key]); got != v {
			t.Errorf("%s is %q, want %q", key, got, v)
		}
	}
	for what, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "2026-11-24.jsonl"): 0o600} {
		if info, err := os.Stat(what); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", what, info, err)
		}
	}
}

func TestTwoProcessesAppendAtOnce(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	ids := []string{id("a"), id("b"), id("c")}
	for _, who := range ids {
		all.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "TRACE_DIR="+dir, "TRACE_ENTRY="+who)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	for _, who := range ids {
		got := events(t, dir, who)
		if len(got) != 2000 {
			t.Fatalf("%s has %d events, want 2000", who, len(got))
		}
		for i, e := range got {
			if e.Fields["n"] != float64(i) || len(e.Fields["text"].(string)) != i%900 {
				t.Fatalf("event %d is %v", i, e.Fields)
			}
		}
	}
}

func TestDamageCostsOnlyTheLineItIsIn(t *testing.T) {
	line := string(appendEvent(nil, time.Now(), entry, "l", Held, nil))
	day := time.Now().UTC().Format(dayForm) + suffix
	tests := []struct {
		name, before string
		want         int // of the events before
	}{
		{"a last line that is torn", line + line[:len(line)/2], 1},
		{"a last line without its end", line + strings.TrimSuffix(line, "\n"), 2}, // whole, once it is ended
		{"a line that is too long", line + `{"entry":"` + entry + `","x":"` + strings.Repeat("x", 300<<10) + "\"}\n" + line, 2},
		{"a long line that is torn", line + strings.Repeat("x", 300<<10), 1},
		{"lines that are no events", line + "\n\x00\x00\n[]\n{\"entry\":\"" + entry + "\"}\n" + line, 2},
		{"an empty file", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, day), []byte(tt.before), 0o600); err != nil {
				t.Fatal(err)
			}
			j := New(dir, Options{})
			j.Trace(entry, "l", Done)
			j.Close()
			got := events(t, dir, entry)
			if len(got) != tt.want+1 || got[len(got)-1].Kind != Done {
				t.Errorf("%s", kinds(got))
			}
		})
	}
}

func TestALineIsBounded(t *testing.T) {
	long := strings.Repeat("é", 5000)
	var many []Reply
	for range 200 {
		many = append(many, Reply{"a@x.test", "refused", strings.Repeat("y", 200)})
	}
	b := appendEvent(nil, time.Now(), entry, "dev@lists.test", Sent, []any{"reason", long, "replies", many, "left", 0, "odd"})
	if len(b) > maxLine || b[len(b)-1] != '\n' || bytes.Count(b, []byte("\n")) != 1 {
		t.Fatalf("%d octets", len(b))
	}
	e, ok := parse(b)
	if !ok || e.Fields["cut"] != true || e.Fields["left"] != 0.0 || e.Fields["replies"] != nil {
		t.Errorf("%v", e.Fields)
	}
	if r := e.Fields["reason"].(string); !strings.HasSuffix(r, "é…") || len(r) > maxText+len("…") {
		t.Errorf("the reason has %d octets and ends in %q", len(r), r[len(r)-6:])
	}
}

func TestEachDayHasItsFileAndOldOnesGo(t *testing.T) {
	dir := t.TempDir()
	foreign := []string{"2020-01-01.txt", "notes.jsonl", "2026-01-01.jsonl.gz"}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC)
	j := at(dir, Options{Keep: 48 * time.Hour}, &now)
	defer j.Close()
	for range 5 {
		j.Trace(entry, "l", Deferred)
		now = now.Add(24 * time.Hour)
	}
	names, err := days(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"2026-11-22", "2026-11-23", "2026-11-24"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("a file that is not the journal's: %v", err)
		}
	}
	if got := events(t, dir, entry); len(got) != 3 {
		t.Errorf("%d events are left", len(got))
	}
}

func TestTheOldestDaysGoWhenAllAreTooLarge(t *testing.T) {
	dir := t.TempDir()
	for _, day := range []string{"2026-11-17", "2026-11-18", "2026-11-19"} {
		if err := os.WriteFile(filepath.Join(dir, day+suffix), bytes.Repeat([]byte("x"), 4000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	j := at(dir, Options{Keep: 30 * 24 * time.Hour, MaxSize: 10_000, Log: slog.New(slog.NewTextHandler(&log, nil))}, &now)
	defer j.Close()
	size := func() (all int64) {
		names, err := days(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, day := range names {
			info, err := os.Stat(filepath.Join(dir, day+suffix))
			if err != nil {
				t.Fatal(err)
			}
			all += info.Size()
		}
		return all
	}
	write := func(times int) {
		for range times {
			j.Trace(entry, "dev@lists.test", Deferred, "reason", strings.Repeat("y", 100))
			now = now.Add(look)
		}
	}
	write(1)
	if names, _ := days(dir); !slices.Equal(names, []string{"2026-11-18", "2026-11-19", "2026-11-20"}) {
		t.Errorf("at once: files %v", names)
	}
	write(20)
	if names, _ := days(dir); !slices.Equal(names, []string{"2026-11-19", "2026-11-20"}) || size() > 10_500 {
		t.Errorf("when the day's has grown: files %v, %d bytes", names, size())
	}
	write(200)
	if names, _ := days(dir); !slices.Equal(names, []string{"2026-11-20"}) || size() > 10_500 {
		t.Errorf("when the day's is too large alone: files %v, %d bytes", names, size())
	}
	if n := strings.Count(log.String(), "trace.max_size"); n != 1 {
		t.Errorf("that is logged %d times, want once", n)
	}
	now = now.Add(24 * time.Hour)
	write(1)
	if names, _ := days(dir); !slices.Equal(names, []string{"2026-11-21"}) || !strings.Contains(log.String(), "is written again") {
		t.Errorf("the next day: files %v, log %s", names, log.String())
	}
}

func TestAFailureIsLoggedOnceAndMailGoesOn(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "trace")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where the directory should be
		t.Fatal(err)
	}
	var log bytes.Buffer
	now := time.Now()
	j := at(dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, &now)
	defer j.Close()
	for range 100 {
		j.Trace(entry, "l", Kept)
		now = now.Add(rest / 10)
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log:\n%s", n, log.String())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	now = now.Add(rest)
	j.Trace(entry, "l", Done)
	if got := kinds(events(t, dir, entry)); got != "a done" || !strings.Contains(log.String(), "written again") {
		t.Errorf("%s; log:\n%s", got, log.String())
	}
	// Files that someone removes are made anew.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	now = now.Add(look)
	j.Trace(entry, "l", Held)
	if got := kinds(events(t, dir, entry)); got != "a held" {
		t.Errorf("after the removal: %q", got)
	}
}

func TestAnAdministratorsCommandMakesNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trace")
	j := New(dir, Options{Existing: true, Log: slog.New(slog.DiscardHandler)})
	defer j.Close()
	j.Trace(entry, "l", Decided)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
	daemon := New(dir, Options{})
	defer daemon.Close()
	daemon.Trace(entry, "l", Kept)
	second := New(dir, Options{Existing: true})
	defer second.Close()
	second.Trace(entry, "l", Decided)
	if got := kinds(events(t, dir, entry)); got != "a kept, a decided" {
		t.Errorf("%s", got)
	}
}

func TestANilJournalDoesNothing(t *testing.T) {
	var j *Journal
	j.Trace(entry, "l", Kept)
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func TestAMessageIsFollowedThroughAllThatCameOfIt(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 20, 23, 59, 0, 0, time.UTC)
	j := at(dir, Options{}, &now)
	defer j.Close()
	j.Trace(id("z"), "l", Kept, KeyMessageID, "<2@net.test>", "reason", `"message_id":"<1@net.test>" "of":"`+id("a")+`"`)
	j.Trace(id("a"), "dev@l", Kept, KeyMessageID, "<1@net.test>")
	now = now.Add(2 * time.Minute) // the next day
	j.Trace(id("b"), "news@l", Kept, KeyMessageID, "<1@net.test>")
	j.Trace(id("a"), "dev@l", Prepared, "chunks", 2)
	j.Trace(id("a"), "dev@l", Sent, "chunk", "1", "left", 1)
	j.Trace(id("a"), "dev@l", Sent, "chunk", "2", "left", 0)
	j.Trace(id("a"), "dev@l", Sent, "chunk", "2", "left", 0) // again, after a crash
	j.Trace(id("a"), "dev@l", Bounced, "as", id("d"))
	j.Trace(id("d"), "dev@l", Kept, KeyOf, id("a"))
	now = now.Add(48 * time.Hour)
	j.Trace(id("d"), "dev@l", Filed)
	j.Trace(id("a"), "dev@l", Sent, "chunk", "1", "left", 0)

	const post = "a kept, a prepared, a sent, a sent, a sent, a bounced, d kept, d filed, a sent, a done"
	tests := []struct{ name, what, want string }{
		{"by the id of the entry", id("a"), post},
		{"by the Message-ID, for both lists", "<1@net.test>", strings.Replace(post, "a kept, ", "a kept, b kept, ", 1)},
		{"by the Message-ID without brackets", "1@net.test", strings.Replace(post, "a kept, ", "a kept, b kept, ", 1)},
		{"by the id of its bounce", id("d"), "d kept, d filed"},
		{"not what only looks like it", "<2@net.test>", "z kept"},
		{"not what is not there", id("q"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := kinds(events(t, dir, tt.what)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if got := events(t, filepath.Join(dir, "nowhere"), id("a")); got != nil {
		t.Errorf("a directory that is not there has %v", got)
	}
	for range Find(t.Context(), dir, id("a")) {
		break // a reader may stop
	}
}

func FuzzParse(f *testing.F) {
	f.Add(appendEvent(nil, time.Now(), entry, "dev@l", Sent, []any{KeyOf, id("a"), "left", 0}))
	f.Add([]byte(`{"time":1,"entry":[],"kind":{}}`))
	f.Add([]byte(`{"time":"2026-11-24T00:00:00Z","entry":"` + entry + `","kind":"sent","chunk":3,"left":"0"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		s, l := newSearch(entry), lives{}
		s.begins(line)
		s.follow(line, l, func(e Event) bool {
			if e.Entry == "" || e.Kind == "" || e.Time.IsZero() && !bytes.Contains(line, []byte("0001")) {
				t.Errorf("%+v", e)
			}
			return true
		})
		newSearch("<" + entry + "@x>").begins(line)
	})
}

// An event must not cost more than 20 µs.
func BenchmarkTrace(b *testing.B) {
	j := New(b.TempDir(), Options{})
	defer j.Close()
	stages := []Stage{{"loop", "accept", 12}, {"posting", "accept", 90}, {"limits", "accept", 4}, {"cleanse", "accept", 3}, {"subject", "accept", 8}}
	for b.Loop() {
		j.Trace(entry, "dev@lists.example.org", Stages, "verdict", "accept", "try", 1, "stages", stages)
	}
}
