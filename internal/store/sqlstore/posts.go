package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/store"
)

// filedPost is what the journal has of a post, by its entry or its digest.
type filedPost struct {
	last   int64 // number of the list's last post
	entry  sql.NullString
	number sql.NullInt64
}

func (f *filedPost) scan(row scanner) error {
	return notFound(row.Scan(&f.last, &f.entry, &f.number))
}

// record is what the journal says to p.
func (f *filedPost) record(p store.Post) store.PostRecord {
	if !f.entry.Valid {
		return store.PostRecord{Entry: p.Entry}
	}
	return store.PostRecord{Number: f.number.Int64, Entry: f.entry.String, Duplicate: f.entry.String != p.Entry}
}

func checkPost(p store.Post) error {
	if p.Entry == "" || len(p.Digest) == 0 {
		return errors.New("a post needs an entry and a digest")
	}
	return nil
}

// PeekPost implements store.Journal.
func (s *Store) PeekPost(ctx context.Context, p store.Post, window time.Duration) (store.PostRecord, error) {
	err := checkPost(p)
	var f filedPost
	if err == nil {
		err = f.scan(s.q.peekPost.QueryRowContext(ctx, p.ListID, p.Entry, p.Digest, p.At.Add(-window).UnixMicro()))
	}
	if err != nil {
		return store.PostRecord{}, fmt.Errorf("look up post %s: %w", p.Entry, err)
	}
	r := f.record(p)
	r.Filed = f.entry.Valid && !r.Duplicate
	if r.Number == 0 && !r.Duplicate {
		r.Number = f.last + 1
	}
	return r, nil
}

// FilePost implements store.Journal.
func (s *Store) FilePost(ctx context.Context, p store.Post, numbered bool, window time.Duration) (store.PostRecord, error) {
	var r store.PostRecord
	err := checkPost(p)
	if err == nil {
		err = s.update(ctx, func(tx *sql.Tx) (err error) {
			r, err = s.filePost(ctx, tx, p, numbered, window)
			return err
		})
	}
	if err != nil {
		return store.PostRecord{}, fmt.Errorf("file post %s: %w", p.Entry, err)
	}
	return r, nil
}

// FilePosts implements store.Journal. Of a post that would change nothing the number has to
// go back, and of one that fails nothing may be left, while the others are filed: then they
// are filed one by one.
func (s *Store) FilePosts(ctx context.Context, posts []store.Post, window time.Duration) ([]store.PostRecord, error) {
	if records, err := s.fileTogether(ctx, posts, window); err == nil {
		return records, nil
	}
	var records []store.PostRecord
	for _, p := range posts {
		r, err := s.FilePost(ctx, p, true, window)
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

// fileTogether files all posts or none.
func (s *Store) fileTogether(ctx context.Context, posts []store.Post, window time.Duration) ([]store.PostRecord, error) {
	records := make([]store.PostRecord, len(posts))
	err := s.update(ctx, func(tx *sql.Tx) error {
		for i, p := range posts {
			err := checkPost(p)
			if err == nil {
				records[i], err = s.filePost(ctx, tx, p, true, window)
			}
			if errors.Is(err, errUnchanged) {
				err = errors.New("one is filed already") // update takes the other for success
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return records, err
}

// filePost takes a number first, which also locks the list's row where a database
// locks rows; it goes back with the transaction if the post was filed before.
func (s *Store) filePost(ctx context.Context, tx *sql.Tx, p store.Post, numbered bool, window time.Duration) (store.PostRecord, error) {
	var number int64
	err := tx.StmtContext(ctx, s.q.nextNumber).QueryRowContext(ctx, p.ListID, btoi(numbered)).Scan(&number)
	if err != nil {
		return store.PostRecord{}, notFound(err)
	}
	var f filedPost
	if err := f.scan(tx.StmtContext(ctx, s.q.filedPost).QueryRowContext(ctx, p.ListID, p.Entry, p.Digest, p.At.Add(-window).UnixMicro())); err != nil {
		return store.PostRecord{}, err
	}
	r := f.record(p)
	switch {
	case r.Duplicate, f.entry.Valid && (f.number.Valid || !numbered):
		return r, errUnchanged
	case f.entry.Valid:
		_, err = tx.StmtContext(ctx, s.q.numberPost).ExecContext(ctx, p.ListID, p.Entry, number)
	default:
		_, err = tx.StmtContext(ctx, s.q.addPost).ExecContext(ctx, p.ListID, p.Entry, p.Digest,
			sql.NullInt64{Int64: number, Valid: numbered}, p.At.UnixMicro())
	}
	if numbered {
		r.Number = number
	}
	if err == nil && numbered {
		err = s.editState(ctx, sqlStatements{tx}, p)
	}
	if err == nil && numbered && p.Approval != "" {
		err = s.useApproval(ctx, sqlStatements{tx}, p)
	}
	if err == nil && numbered && p.Kept != nil {
		err = s.addArchived(ctx, tx, archived(p, number))
	}
	return r, err
}

// archived is what the archive's index has of a post.
func archived(p store.Post, number int64) store.Archived {
	return store.Archived{ListID: p.ListID, Number: number, Entry: p.Entry, Received: p.At, Kept: *p.Kept}
}

// Prune implements store.Journal, in transactions of some thousand rows. It also
// removes what is left of deleted lists.
func (s *Store) Prune(ctx context.Context, t time.Time) error {
	for _, stmt := range []*sql.Stmt{s.q.prunePosts, s.q.pruneNotices, s.q.pruneOwed, s.q.pruneApprovals} {
		if err := s.repeat(ctx, stmt, t.UnixMicro()); err != nil {
			return fmt.Errorf("prune what is from before %s: %w", t.Format(time.RFC3339), err)
		}
	}
	if err := s.repeat(ctx, s.q.pruneResponses, t.Add(-store.MaxGrace).UnixMicro()); err != nil {
		return fmt.Errorf("prune responses: %w", err)
	}
	if err := s.pruneRequests(ctx, t); err != nil {
		return err
	}
	for {
		var id int64
		err := s.q.buriedList.QueryRowContext(ctx, lastKey, s.now().UnixMicro()).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			err = s.clearList(ctx, id)
		}
		if err != nil {
			return fmt.Errorf("prune deleted lists: %w", err)
		}
	}
}
