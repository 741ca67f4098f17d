package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
)

// openTrace makes the journal that the daemons write to, or nil.
func openTrace(c *config.Config, log *slog.Logger) *trace.Journal {
	if !c.Trace.Enabled {
		return nil
	}
	return trace.New(tracePath(c), trace.Options{Keep: c.Trace.Keep.Std(), MaxSize: int64(c.Trace.MaxSize), Log: log})
}

// traceDecisions returns what tells the trace of decisions about posts: one that was discarded
// leaves nothing else. close ends it.
func (a *app) traceDecisions() (tell func(id, list string, d store.Decision), close func() error, err error) {
	c, err := a.load()
	if err != nil || !c.Trace.Enabled {
		return func(string, string, store.Decision) {}, func() error { return nil }, err
	}
	j := trace.New(tracePath(c), trace.Options{Existing: true, MaxSize: int64(c.Trace.MaxSize), Log: slog.New(slog.DiscardHandler)})
	return func(id, list string, d store.Decision) {
		j.Trace(id, list, trace.Decided, "decision", d.Verdict.Done(), "by", d.By)
	}, j.Close, nil
}

func tracePath(c *config.Config) string {
	if c.Trace.Dir != "" {
		return c.Trace.Dir
	}
	return filepath.Join(localDir(c), "trace") // a directory: config wants trace.dir beside a database
}

func (a *app) traceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "trace MESSAGE-ID|ENTRY-ID",
		Short: "print what happened to a message",
		Long: `Prints the recorded life of a message, oldest event first: when and by whom it was kept, what each stage decided and how
long that took, why it was held, rejected, deferred or failed, the recipients and chunks it was prepared for, each transaction
with the MTA and its replies, bounces and notices that came of it, and when nothing was left to do.

A Message-ID may be given with its angle brackets (in quotes) or without; it finds the message on every list that it was
for. An entry id is what the log, "mlist queue ls" and the reply to LMTP show. [trace] in the configuration says where
the record is and for how long it is kept. With --json each event is an object; "kind" says what happened.`,
		Example: `  mlist trace 20261124120000.1@example.net
  mlist trace '<20261124120000.1@example.net>'
  mlist trace aaaqeayeaudaocaj
  mlist trace aaaqeayeaudaocaj --json | jq '.[] | select(.kind == "sent")'`,
		Args: between(1, 1, "a Message-ID or the id of an entry"),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.printTrace(cmd, args[0]) }
	return c
}

func (a *app) printTrace(cmd *cobra.Command, what string) error {
	if !strings.ContainsAny(what, "@<>") {
		if _, err := parseIDs([]string{what}); err != nil {
			return err
		}
	}
	c, err := a.load()
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	out, n, last := array{w: w}, 0, ""
	for e, err := range trace.Find(cmd.Context(), tracePath(c), what) {
		if err != nil {
			return err
		}
		n++
		if a.json {
			err = out.add(e.Fields)
		} else {
			err = printEvent(w, e, e.Entry != last)
		}
		if err != nil {
			return err
		}
		last = e.Entry
	}
	if n == 0 {
		return noTrace(c, what)
	}
	if a.json {
		return out.end()
	}
	return nil
}

func noTrace(c *config.Config, what string) error {
	err := fmt.Errorf("no trace of %s", what)
	if !c.Trace.Enabled {
		return withHint(err, "Nothing is recorded: trace.enabled is false in the configuration.")
	}
	return withHint(err, "What happened in the last %v is in %s; `mlist queue ls` shows what is on its way.", c.Trace.Keep, tracePath(c))
}

// printEvent prints an event for people, with a heading where the entry is another one.
func printEvent(w io.Writer, e trace.Event, heading bool) error {
	if heading {
		of := ""
		if e.Of != "" {
			of = ", made for " + e.Of
		}
		fmt.Fprintf(w, "%s  %s%s\n", printable(e.Entry, false), printable(e.List, false), printable(of, false))
	}
	_, err := fmt.Fprintf(w, "  %s  %-9s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), printable(e.Kind, false),
		printable(cut(describeEvent(fields(e.Fields), e.Kind), 600), false))
	for _, line := range replyLines(e) {
		fmt.Fprintf(w, "%38s%s\n", "", printable(cut(line, 600), false))
	}
	return err
}

// replyLines are the recipients that an event names.
func replyLines(e trace.Event) []string {
	var out []string
	for _, r := range fields(e.Fields).list("replies") {
		out = append(out, fmt.Sprintf("%s <%s>: %s", r.text("outcome"), r.text("recipient"), r.text("reply")))
	}
	return out
}

// fields are the keys of an event, read without trust: a file may say anything.
type fields map[string]any

func (f fields) text(key string) string {
	s, _ := f[key].(string)
	return s
}

func (f fields) texts(key string) []string {
	var out []string
	items, _ := f[key].([]any)
	for _, item := range items {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (f fields) number(key string) int64 {
	n, _ := f[key].(float64)
	return int64(n)
}

func (f fields) list(key string) []fields {
	var out []fields
	items, _ := f[key].([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// describeEvent says in one line what happened.
func describeEvent(f fields, kind string) string {
	switch kind {
	case trace.Kept:
		return describeKept(f)
	case trace.Stages:
		return describeStages(f)
	case trace.Held, trace.Rejected, trace.Discarded:
		text := joinNonEmpty(": ", f.text("stage"), f.text("code"), f.text("reason"))
		if f["notice"] == true {
			text += " (the sender is told)"
		}
		return text
	case trace.Decided:
		return f.text("decision") + " by " + f.text("by")
	case trace.Deferred:
		return fmt.Sprintf("%s, due %s: %s", count(f.number("tries"), "try", "tries"), f.text("due"), f.text("reason"))
	case trace.Failed:
		return fmt.Sprintf("after %s: %s", count(f.number("tries"), "try", "tries"), f.text("reason"))
	case trace.Prepared:
		text := count(f.number("recipients"), "recipient", "recipients") + " in " + count(f.number("chunks"), "chunk", "chunks")
		if f.text("role") != "post" {
			return f.text("role") + ": " + text
		}
		return fmt.Sprintf("post %d: %s", f.number("number"), text)
	case trace.Committed:
		return fmt.Sprintf("to outgoing, %d µs after the pipeline took it", f.number("took_us"))
	case trace.Waits:
		return fmt.Sprintf("chunk %s: %s", f.text("chunk"), f.text("reason"))
	case trace.Sent:
		return describeSent(f)
	case trace.Bounced:
		return fmt.Sprintf("%s, as entry %s", count(f.number("recipients"), "recipient", "recipients"), f.text("as"))
	case trace.Filed:
		return count(f.number("recipients"), "recipient", "recipients")
	case trace.Recalled:
		return fmt.Sprintf("%s took it back from %s recipients who did not have it, or were just getting it", f.text("by"), f.text("recipients"))
	case trace.Dropped:
		return fmt.Sprintf("a post of stage %s: %s", f.text("stage"), f.text("reason"))
	case trace.Done:
		return f.text("reason")
	}
	text, err := json.Marshal(f) // of a newer mlist
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func describeKept(f fields) string {
	text := "in " + f.text("queue")
	if role := f.text("role"); role != "" {
		text += ", for " + joinNonEmpty(" of ", role, f.text("recipient"))
	}
	if _, ok := f["sender"]; ok {
		text += ", from <" + f.text("sender") + ">"
	}
	if n := f.number("size"); n > 0 {
		text += ", " + thousands(n) + " octets"
	}
	if peer := f.text("peer"); peer != "" {
		text += ", by " + peer
	}
	if by := describe.SubmittedBy(f.texts("flags")); len(by) > 0 {
		text += ", submitted by stage " + by[len(by)-1]
	}
	return text
}

func describeStages(f fields) string {
	text := f.text("verdict")
	if stage := f.text("stage"); stage != "" {
		text += " by " + joinNonEmpty(": ", stage, f.text("code"), f.text("reason"))
	}
	var stages []string
	for _, s := range f.list("stages") {
		stages = append(stages, fmt.Sprintf("%s %dµs", s.text("stage"), s.number("took_us")))
	}
	if try := f.number("try"); try > 1 {
		text += fmt.Sprintf(" (try %d)", try)
	}
	// What checks found, which may be more than what decided.
	notes, _ := f["notes"].(map[string]any)
	var hits []string
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(notes))) { // posting before limits
		if found, ok := notes[name].(string); ok && strings.HasSuffix(name, ".hits") {
			for line := range strings.Lines(found) {
				code, _, _ := strings.Cut(line, ":")
				hits = append(hits, code)
			}
		}
	}
	found := ""
	if len(hits) > 0 {
		found = "found " + strings.Join(hits, ", ")
	}
	return joinNonEmpty("; ", text, found, strings.Join(stages, ", "))
}

func describeSent(f fields) string {
	var parts []string
	for _, what := range []string{"accepted", "deferred", "refused"} {
		if n := f.number(what); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", thousands(n), what))
		}
	}
	text := fmt.Sprintf("chunk %s: %s in %d ms", f.text("chunk"), strings.Join(parts, ", "), f.number("ms"))
	if reply := f.text("reply"); reply != "" {
		text += ": " + reply
	}
	return text
}

func joinNonEmpty(sep string, parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, sep)
}
