package pg

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// What the server cannot do is not the entry's fault; what it is asked may be.
func TestWhoseFaultAnErrorIs(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{})
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, "dev@l.test", "hello")
	e, err := in.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		state string
		down  bool
	}{
		{"53100", true},  // disk_full
		{"40P01", true},  // deadlock_detected
		{"57014", true},  // query_canceled, by statement_timeout
		{"25006", true},  // read_only_sql_transaction
		{"22001", false}, // string_data_right_truncation
		{"gone", true},   // the connection
	} {
		body := fmt.Sprintf(`RAISE EXCEPTION SQLSTATE '%s'`, tt.state)
		if tt.state == "gone" {
			body = `PERFORM pg_terminate_backend(pg_backend_pid())`
		}
		trigger := `CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + body + `; RETURN NEW; END $$;
			CREATE OR REPLACE TRIGGER fails BEFORE INSERT ON spool_posts EXECUTE FUNCTION fails()`
		if _, err := s.keep.Exec(t.Context(), trigger); err != nil {
			t.Fatal(err)
		}
		p, err := in.Prepare(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		w, err := p.Content("plain")
		if err == nil {
			err = errors.Join(w.Close(), p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Recipients: []string{"a@x.test"}}))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Commit(t.Context()); err == nil || errors.Is(err, spool.ErrDown) != tt.down {
			t.Errorf("%s: %v, down %v", tt.state, err, errors.Is(err, spool.ErrDown))
		}
	}
}
