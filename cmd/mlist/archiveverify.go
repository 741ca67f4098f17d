package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func (a *app) archiveVerify() *cobra.Command {
	return &cobra.Command{
		Use:     "verify LIST",
		Short:   "read every post of the archive, and compare it with the index",
		Long:    "Reads every post of the archive, and compares it with what the index says. The status is 1 if one is damaged.",
		Example: "  mlist archive verify dev@lists.example.org\n  mlist archive verify dev@lists.example.org --json",
		Args:    between(1, 1, "the address of a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withArchive(cmd, args[0], func(st store.Store, l *list.List, ar archive.Archive) error { return a.verifyArchive(cmd, st, l, ar) })
		},
	}
}

// damageJSON is a post that is not as it should be.
type damageJSON struct {
	Number  int64  `json:"number"`
	Place   string `json:"file"`
	Problem string `json:"problem"`
}

func (a *app) verifyArchive(cmd *cobra.Command, st store.Store, l *list.List, ar archive.Archive) error {
	p := newProgress(a.err)
	defer p.clear()
	n, damaged := int64(0), []damageJSON{}
	for post, err := range there(st.Archived(cmd.Context(), l.ID, store.ArchiveFilter{})) {
		if err != nil {
			return err
		}
		n++
		if problem := verifyPost(cmd.Context(), ar, post); problem != "" {
			damaged = append(damaged, damageJSON{post.Number, post.Place, problem})
			if !a.json {
				fmt.Fprintf(p.writer(cmd.OutOrStdout()), "%6d  %s: %s\n", post.Number, printable(post.Place, false), printable(problem, false))
			}
		}
		p.show(n, -1)
	}
	p.clear()
	if a.json {
		if err := printJSON(cmd.OutOrStdout(), map[string]any{"posts": n, "damaged": damaged}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "%s, %d damaged.\n", count(n, "post", "posts"), len(damaged))
	}
	if len(damaged) > 0 {
		return exitStatus(exitError)
	}
	return nil
}

// verifyPost says what is wrong with a post; "" if nothing is.
func verifyPost(ctx context.Context, ar archive.Archive, p store.Archived) string {
	r, err := ar.Open(ctx, p.Place)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, r)
	switch {
	case err != nil:
		return err.Error()
	case size != p.Size:
		return fmt.Sprintf("it has %d octets, and the index says %d", size, p.Size)
	case !bytes.Equal(sum.Sum(nil), p.SHA256):
		return "its octets are not those that were put there"
	}
	return ""
}
