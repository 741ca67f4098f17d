package postgres

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// StartFor starts a server for one test and those within it. Where there is none to be had the
// test is skipped, and says in capitals what is not tested then.
func StartFor(t testing.TB, opts Options, what string) *Server {
	t.Helper()
	server, err := Start(t.Context(), opts)
	if errors.Is(err, ErrMissing) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}
