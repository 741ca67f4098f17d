package main

import (
	"context"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/pg"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/pipeline"
)

// oneDatabase is how spool and store commit together where they are in one schema of one
// database, and else nil. Neither knows of the other: this is where they meet.
func oneDatabase(ctx context.Context, sp spool.Spool, st *sqlstore.Store) (pipeline.Together, error) {
	in, is := sp.(*pg.Spool)
	if !is {
		return nil, nil
	}
	if same, err := in.SharesDatabase(ctx, st.SharesDatabase); err != nil || !same {
		return nil, err
	}
	return func(ctx context.Context, owner spool.Owner, posts []spool.Prepared, filings []store.Post, numbers []int64, window time.Duration) error {
		return pg.CommitWith(ctx, owner, st.Filing(filings, numbers, window), posts...)
	}, nil
}
