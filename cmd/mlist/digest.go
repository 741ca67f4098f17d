package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/pipeline"
)

func (a *app) digestCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "digest",
		Short: "look at digests, and send one now",
		Example: `  mlist digest ls dev@lists.example.org
  mlist digest send dev@lists.example.org
  mlist digest bump dev@lists.example.org`,
	}, a.digestLs(), a.digestSend(), a.digestBump())
}

func issueName(i store.Issue) string { return fmt.Sprintf("%d/%d", i.Volume, i.Issue) }

// digestJSON is an issue as `digest ls --json` shows it.
type digestJSON struct {
	Volume int        `json:"volume"`
	Issue  int        `json:"issue"`
	Closed time.Time  `json:"closed"`
	Posts  int        `json:"posts"`
	Size   int64      `json:"size"`
	Filed  *time.Time `json:"filed,omitempty"` // not yet, if it is missing
}

func digestOf(d store.Digest) digestJSON {
	j := digestJSON{Volume: d.Volume, Issue: d.Issue.Issue, Closed: d.Closed, Posts: d.Posts, Size: d.Size}
	if !d.Filed.IsZero() {
		j.Filed = &d.Filed
	}
	return j
}

func (a *app) digestLs() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     "ls LIST",
		Short:   "print what waits for the next digest, and the last ones",
		Example: "  mlist digest ls dev@lists.example.org\n  mlist digest ls dev@lists.example.org --all --json",
		Args:    between(1, 1, "the address of a list"),
	}
	c.Flags().BoolVar(&all, "all", false, "every digest that there was, not just the last ten")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error { return a.printDigests(cmd, st, l, all) })
	}
	return c
}

func (a *app) printDigests(cmd *cobra.Command, st store.Store, l *list.List, all bool) error {
	waiting, err := st.WaitingDigest(cmd.Context(), l.ID)
	if err != nil {
		return err
	}
	digests := []digestJSON{}
	for d, err := range st.Digests(cmd.Context(), l.ID) {
		if err != nil {
			return err
		}
		if digests = append(digests, digestOf(d)); !all && len(digests) == 10 {
			break
		}
	}
	w := cmd.OutOrStdout()
	if a.json {
		return printJSON(w, map[string]any{"list": l.Address.String(), "waiting": map[string]any{"posts": waiting.Posts, "size": waiting.Size}, "digests": digests})
	}
	fmt.Fprintf(w, "%s, %s octets, for the next digest.\n", count(int64(waiting.Posts), "post waits", "posts wait"), thousands(waiting.Size))
	for _, d := range digests {
		state := ""
		if d.Filed == nil {
			state = "  (not on its way yet)"
		}
		fmt.Fprintf(w, "%8s  %s  %s%s\n", issueName(store.Issue{Volume: d.Volume, Issue: d.Issue}), moment(d.Closed), count(int64(d.Posts), "post", "posts"), state)
	}
	return nil
}

func (a *app) digestSend() *cobra.Command {
	return &cobra.Command{
		Use:   "send LIST",
		Short: "send a digest of what waits now",
		Long: `Closes an issue of all posts that wait for the list's next digest; the pipeline sends it within seconds, or when it
is started.`,
		Example: "  mlist digest send dev@lists.example.org",
		Args:    between(1, 1, "the address of a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
				var closed []digestJSON
				for {
					d, err := st.CloseDigest(cmd.Context(), l.ID, pipeline.NextIssue(l, time.Now()))
					if errors.Is(err, store.ErrNotFound) {
						break
					}
					if err != nil {
						return err
					}
					closed = append(closed, digestOf(d))
				}
				return a.printSent(cmd, l, closed)
			})
		},
	}
}

func (a *app) printSent(cmd *cobra.Command, l *list.List, closed []digestJSON) error {
	if len(closed) == 0 {
		return withHint(fmt.Errorf("no post waits for a digest of %s", l.Address), "Posts wait if a member gets digests: `mlist member ls %s --mode mime_digests`.", l.Address)
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), closed)
	}
	for _, d := range closed {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "Volume %d, issue %d, with %s, goes out.\n", d.Volume, d.Issue, count(int64(d.Posts), "post", "posts")); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) digestBump() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:     "bump LIST",
		Short:   "start a new volume of digests",
		Example: "  mlist digest bump dev@lists.example.org\n  mlist digest bump dev@lists.example.org --to 12/34     # as it was numbered elsewhere",
		Args:    between(1, 1, "the address of a list"),
	}
	c.Flags().StringVar(&to, "to", "", "number the next digest VOLUME/ISSUE")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		next, err := parseIssue(to)
		if err != nil {
			return usageError{err}
		}
		return a.withList(cmd, args[0], func(st store.Store, l *list.List) error {
			got, err := st.BumpDigest(cmd.Context(), l.ID, time.Now(), next)
			if errors.Is(err, store.ErrExists) {
				return withHint(fmt.Errorf("there was a digest %s of %s, or a later one", to, l.Address), "`mlist digest ls %s` shows them.", l.Address)
			}
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"volume": got.Volume, "issue": got.Issue})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The next digest is volume %d, issue %d.\n", got.Volume, got.Issue)
			return err
		})
	}
	return c
}

// parseIssue reads VOLUME/ISSUE; nothing is no issue.
func parseIssue(text string) (i store.Issue, err error) {
	if text == "" {
		return i, nil
	}
	volume, issue, ok := strings.Cut(text, "/")
	if i.Volume, err = strconv.Atoi(volume); err == nil {
		i.Issue, err = strconv.Atoi(issue)
	}
	if !ok || err != nil || i.Volume < 1 || i.Issue < 1 {
		return i, fmt.Errorf("--to %q: want VOLUME/ISSUE, such as 12/34", text)
	}
	return i, nil
}
