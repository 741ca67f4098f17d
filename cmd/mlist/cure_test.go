package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mlist/mlist/internal/listen"
)

// What keeps a daemon from listening has a cure of its own, each.
func TestAnAddressThatCannotBeHadIsCured(t *testing.T) {
	_, elsewhere := listen.Open("tcp:192.0.2.77:8024", 0) // an address that is for documentation
	for _, tt := range []struct {
		err  error
		cure string
	}{
		{elsewhere, "`ip address`"},
		{&net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)}, "below 1024"},
		{&net.OpError{Op: "listen", Net: "tcp", Err: &net.DNSError{Name: "lists.test", IsNotFound: true}}, "DNS"},
		{&os.PathError{Op: "open", Path: "/var/spool/mlist", Err: syscall.EACCES}, "mlist doctor"},
		{orHint(&os.PathError{Op: "open", Path: "/var/spool/mlist", Err: syscall.EACCES}, "another"), "mlist doctor"},
		{orHint(errors.New("it is full of holes"), "what there is"), "what there is"},
	} {
		var hint hintError
		if err := cure(fmt.Errorf("lmtpd: %w", tt.err)); !errors.As(err, &hint) || !strings.Contains(hint.hint, tt.cure) {
			t.Errorf("%v: the cure is %q, want %q", err, hint.hint, tt.cure)
		}
	}
	if err := orHint(nil, "nothing"); err != nil {
		t.Error(err)
	}
}
