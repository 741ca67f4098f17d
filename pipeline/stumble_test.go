package pipeline

import (
	"context"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// stumbler fails once, at a step, before or after that was taken: as a crash does.
type stumbler struct {
	steps, at int
	after     bool
	what      string // the step at which it was
}

func (s *stumbler) step(what string, do func() error) error {
	if s.steps++; s.steps != s.at {
		return do()
	}
	s.what = what
	if s.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errKilled
}

type stumblingStore struct {
	*sqlstore.Store
	*stumbler
}

func (s stumblingStore) CloseDigest(ctx context.Context, listID int64, how store.CloseDigest) (d store.Digest, err error) {
	err = s.step("CloseDigest", func() (err error) { d, err = s.Store.CloseDigest(ctx, listID, how); return err })
	return d, err
}

func (s stumblingStore) DigestPosts(ctx context.Context, listID int64, i store.Issue) (p []store.Archived, err error) {
	err = s.step("DigestPosts", func() (err error) { p, err = s.Store.DigestPosts(ctx, listID, i); return err })
	return p, err
}

func (s stumblingStore) IsFiled(ctx context.Context, listID int64, entry string) (is bool, err error) {
	err = s.step("IsFiled", func() (err error) { is, err = s.Store.IsFiled(ctx, listID, entry); return err })
	return is, err
}

func (s stumblingStore) DigestFiled(ctx context.Context, listID int64, i store.Issue, at time.Time) (places []string, err error) {
	err = s.step("DigestFiled", func() (err error) { places, err = s.Store.DigestFiled(ctx, listID, i, at); return err })
	return places, err
}

func (s stumblingStore) FilePost(ctx context.Context, p store.Post, numbered bool, window time.Duration) (r store.PostRecord, err error) {
	err = s.step("FilePost", func() (err error) { r, err = s.Store.FilePost(ctx, p, numbered, window); return err })
	return r, err
}

type stumblingSpool struct {
	*dir.Spool
	*stumbler
}

func (s stumblingSpool) Create(ctx context.Context) (spool.Draft, error) {
	d, err := s.Spool.Create(ctx)
	return stumblingDraft{d, s.stumbler}, err
}

type stumblingDraft struct {
	spool.Draft
	*stumbler
}

func (s stumblingDraft) Put(ctx context.Context, q spool.Queue, id spool.ID, env spool.Envelope) (out spool.ID, err error) {
	err = s.step("Put", func() (err error) { out, err = s.Draft.Put(ctx, q, id, env); return err })
	return out, err
}
