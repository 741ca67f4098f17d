package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/wire"
)

// The edits of a post in words.

func headerEdits(p *host.Post) []string {
	out := []string{}
	for _, op := range p.Header.Ops() {
		switch op.Kind {
		case message.Prepend:
			out = append(out, fmt.Sprintf("prepend %s: %s", op.Name, op.Value))
		case message.Append:
			out = append(out, fmt.Sprintf("append %s: %s", op.Name, op.Value))
		case message.Replace:
			out = append(out, fmt.Sprintf("replace %s: %s", op.Name, op.Value))
		case message.Remove:
			line := "remove " + op.Name
			if op.Nth > 0 {
				line += fmt.Sprintf(" number %d", op.Nth)
			}
			out = append(out, line)
		}
	}
	return out
}

func bodyEdits(p *host.Post) []string {
	out := []string{}
	for _, s := range p.Body.Splices() {
		line := fmt.Sprintf("at %d:", s.Offset)
		if s.Delete > 0 {
			line += fmt.Sprintf(" delete %s", count(s.Delete, "octet", "octets"))
		}
		if len(s.Insert) > 0 {
			line += fmt.Sprintf(" insert %q", cut(string(s.Insert), 200))
		}
		out = append(out, line)
	}
	return out
}

func ruleWords(p *host.Post) []string {
	out := []string{}
	for _, r := range p.Rules {
		words := []string{map[sdk.RuleKind]string{sdk.RuleSelect: "select", sdk.RuleAdd: "add", sdk.RuleExclude: "exclude"}[r.Kind]}
		named := ""
		if len(r.Lists) > 0 { // then they choose among these
			named = map[sdk.RuleKind]string{sdk.RuleSelect: "unless the post names", sdk.RuleExclude: "if the post names"}[r.Kind]
		}
		for _, part := range []struct {
			what string
			are  []string
		}{{"role", r.Roles}, {"mode", r.Modes}, {"status", r.Statuses}, {"topic", r.Topics}, {"of list", r.Lists}, {named, r.Addresses}} {
			switch {
			case len(part.are) == 0:
			case part.what == "":
				words = append(words, cut(strings.Join(part.are, ", "), 500))
			default:
				words = append(words, part.what+" "+cut(strings.Join(part.are, " or "), 500))
			}
		}
		if r.Flag != "" {
			words = append(words, "of those who asked for "+r.Flag)
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

// askWords is what the stages want beside edits: state, new messages, what to keep, counts.
func askWords(p *host.Post) []string {
	var keep []sdk.Use
	for _, k := range p.Kept {
		keep = append(keep, k.For...)
	}
	out := asks(p.State, p.Submissions, keep)
	for _, name := range sortedKeys(p.Counts) {
		out = append(out, fmt.Sprintf("count %d more %s", p.Counts[name], name))
	}
	return out
}

func asks(state []wire.StateEdit, submissions []wire.Submission, keep []sdk.Use) []string {
	out := []string{}
	for _, e := range state {
		switch e.Kind {
		case wire.StateSet:
			out = append(out, fmt.Sprintf("set state %s to %q", e.Key, cut(string(e.Value), 200)))
		case wire.StateAdd:
			out = append(out, fmt.Sprintf("add %d to state %s", e.Delta, e.Key))
		case wire.StateDelete:
			out = append(out, "delete state "+e.Key)
		}
	}
	for _, m := range submissions {
		size := count(int64(len(m.Message)), "octet", "octets")
		switch {
		case m.Post && m.Approved:
			out = append(out, fmt.Sprintf("post %s to the list, approved", size))
		case m.Post:
			out = append(out, fmt.Sprintf("post %s to the list", size))
		case m.To == "":
			out = append(out, fmt.Sprintf("send %s to owners and moderators", size))
		default:
			out = append(out, fmt.Sprintf("send %s to %s", size, m.To))
		}
	}
	for _, use := range keep {
		out = append(out, "keep it for the "+string(use))
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
