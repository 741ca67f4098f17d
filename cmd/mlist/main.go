// Command mlist is all of mlist: `mlist serve` runs the daemons, `mlist lmtpd`,
// `pipeline` and `outbound` one of them each, and the other commands administer lists,
// members and queues.
//
// It parses flags, calls, and prints; no rule of mail lives here. There is a file for
// each family of commands. What people read goes to standard output, as JSON with
// --json; errors go to standard error, with what to do next. It exits with 0, with 1
// after an error, and with 2 when the command line itself is wrong.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(run()) }

// run is main without the exit, so that tests can be this program. An administrator's
// command that is interrupted just ends: what it changes, it changes in steps that each
// happen or do not.
func run() int {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	return a.main(context.Background(), os.Args[1:])
}
