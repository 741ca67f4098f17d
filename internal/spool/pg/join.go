package pg

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/spool"
)

// Join is what somebody else who has tables in the spool's database does in the transaction of
// a commit: at once, or by what it queues, whose answers are looked at before the end.
type Join = func(ctx context.Context, tx pgx.Tx, all *pgx.Batch) error

// CommitWith commits posts, which an owner of a spool of this package has prepared, and what
// join does, as one transaction: all of it or nothing. After an error they are as they were, to
// be committed or aborted otherwise.
func CommitWith(ctx context.Context, of spool.Owner, join Join, posts ...spool.Prepared) error {
	o, is := of.(*owner)
	if !is {
		return errors.New("commit posts in a spool that is none in PostgreSQL")
	}
	all, err := o.own(posts)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := p.check(); err != nil {
			return fmt.Errorf("commit entry %s: %w", p.e.ID, err)
		}
	}
	if err := o.commitAll(ctx, all, join); err != nil && (errors.Is(err, spool.ErrFenced) || ctx.Err() != nil || !o.went(ctx, all)) {
		return fmt.Errorf("commit %d posts with what the store says of them: %w", len(all), err)
	}
	o.committed(ctx, all)
	return nil
}

// SharesDatabase tells whether somebody else has tables where the spool has its own, and may
// do the same with them: found is asked whether they see, as their own, a schema and a user, and in the
// same database a lock that is held meanwhile.
func (s *Spool) SharesDatabase(ctx context.Context, found func(ctx context.Context, lock int64, schema, user string) (bool, error)) (same bool, err error) {
	var random [8]byte
	rand.Read(random[:]) // never fails
	lock := int64(binary.BigEndian.Uint64(random[:]))
	err = s.change(ctx, func(tx pgx.Tx) error {
		var schema, user string
		if err := tx.QueryRow(ctx, `SELECT current_schema(), current_user FROM pg_advisory_xact_lock($1)`, lock).Scan(&schema, &user); err != nil {
			return err
		}
		same, err = found(ctx, lock, schema, user)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("find out whether the store is in the database of spool %s: %w", s.url, err)
	}
	return same, nil
}
