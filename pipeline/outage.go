package pipeline

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// patience is for how long a post waits for the machine to get well: as long as an MTA
// keeps mail for a host that is down.
const patience = 5 * 24 * time.Hour

// outage is a failure of the store: nothing that the post can help.
type outage struct{ error }

func (o outage) Unwrap() error { return o.error }

// storeFailed marks an error of the store.
func storeFailed(what string, err error) error {
	return outage{fmt.Errorf("%s: %w", what, err)}
}

// machineErrors are what a system call says when it is the machine that fails.
var machineErrors = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO,
	syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.ESTALE,
}

// blameless tells whether a try failed for a reason that lies in the machine and not in
// the post: such a try does not bring the post nearer to failed, or a disk that is full
// for a minute would put there all that came meanwhile.
func blameless(err error) bool {
	var out outage
	if errors.As(err, &out) {
		return true
	}
	if errors.Is(err, spool.ErrDown) {
		return true
	}
	for _, machine := range machineErrors {
		if errors.Is(err, machine) {
			return true
		}
	}
	return false
}
