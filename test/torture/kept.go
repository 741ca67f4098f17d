package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/sink"
)

// digestSettings has every list send a digest after some posts.
var digestSettings = []string{"digest_count_threshold=5", "digest_size_threshold=0", "digest_send_periodic=false"}

// reader is who gets the digests of a list, and nothing else.
func reader(list string) string {
	return "reader-" + strings.Replace(list, "@", ".", 1) + "@digest.test"
}

// checkKept holds the archives against what was accepted: each post is there once, whole, and
// in one digest at most. It returns the digests, as messages that their readers must get.
func (w *world) checkKept(ctx context.Context, accepted []checker.Accepted, transactions func() []sink.Transaction) ([]checker.Accepted, error) {
	times := map[string]int{}
	var digests []checker.Accepted
	for _, list := range w.lists {
		var posts []struct {
			MessageID string `json:"message_id"`
			Digest    string
		}
		if err := w.ask(ctx, &posts, "archive", "ls", list, "--json"); err != nil {
			return nil, err
		}
		in := map[string]int{}
		for _, p := range posts {
			times[p.MessageID]++
			in[p.Digest]++
		}
		if _, err := w.daemons[0].Command(ctx, nil, "archive", "verify", list); err != nil {
			return nil, fmt.Errorf("the archive of %s: %w", list, err)
		}
		issues, err := w.checkDigests(ctx, list, in, transactions)
		if err != nil {
			return nil, err
		}
		digests = append(digests, issues...)
	}
	for _, a := range accepted {
		if n := times[strings.Trim(a.MessageID, "<>")]; n != 1 {
			return nil, fmt.Errorf("%s is in the archive %d times", a.MessageID, n)
		}
	}
	return digests, nil
}

// checkDigests waits until all digests of a list are on their way, and compares how many posts
// each has with the archive.
func (w *world) checkDigests(ctx context.Context, list string, in map[string]int, transactions func() []sink.Transaction) ([]checker.Accepted, error) {
	var have struct {
		Waiting struct{ Posts int }
		Digests []struct {
			Volume, Issue, Posts int
			Filed                *time.Time
		}
	}
	filed := func() bool {
		for _, d := range have.Digests {
			if d.Filed == nil {
				return false
			}
		}
		return true
	}
	for start := time.Now(); ; {
		if err := w.ask(ctx, &have, "digest", "ls", list, "--all", "--json"); err != nil {
			return nil, err
		}
		if filed() {
			break
		}
		if time.Since(start) > stuck {
			return nil, fmt.Errorf("a digest of %s is not on its way after %s\n%s", list, stuck, w.logs())
		}
		if err := w.drain(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.drain(ctx); err != nil { // the digests themselves
		return nil, err
	}
	if have.Waiting.Posts != in[""] {
		return nil, fmt.Errorf("%d posts of %s wait for a digest, and %d are in none", have.Waiting.Posts, list, in[""])
	}
	var out []checker.Accepted
	for _, d := range have.Digests {
		if n := in[fmt.Sprintf("%d/%d", d.Volume, d.Issue)]; n != d.Posts {
			return nil, fmt.Errorf("digest %d/%d of %s has %d posts, and the archive says %d", d.Volume, d.Issue, list, d.Posts, n)
		}
		out = append(out, checker.Accepted{MessageID: digestID(transactions(), list, d.Volume, d.Issue), Recipients: []string{reader(list)}})
	}
	return out, nil
}

// digestID is the Message-ID with which an issue came to the reader of the list; one that
// nothing came with if it did not.
func digestID(transactions []sink.Transaction, list string, volume, issue int) string {
	prefix := fmt.Sprintf("digest-mime-%d-%d.", volume, issue)
	for _, tx := range transactions {
		for _, r := range tx.Recipients {
			if id := strings.Trim(tx.MessageID, "<>"); r == reader(list) && strings.HasPrefix(id, prefix) {
				return id
			}
		}
	}
	return prefix + list
}

// ask runs a command and reads what it prints.
func (w *world) ask(ctx context.Context, to any, args ...string) error {
	text, err := w.daemons[0].Command(ctx, nil, args...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), to)
}
