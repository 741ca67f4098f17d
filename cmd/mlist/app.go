package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mlist/mlist/internal/config"
)

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer

	configPath string
	json       bool
}

const (
	exitError = 1
	exitUsage = 2
)

// usageError is a mistake in the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// hintError is an error with what to do next.
type hintError struct {
	error
	hint string
}

func (h hintError) Unwrap() error { return h.error }

// withHint adds to err what to do about it.
func withHint(err error, format string, args ...any) error {
	return hintError{err, fmt.Sprintf(format, args...)}
}

// errTold ends a command with status 1 after it has said itself what was wrong.
var errTold = errors.New("told")

// exitStatus ends a command with this status, which says what the command found out.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func (a *app) main(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetErr(a.err)
	out := bufio.NewWriterSize(a.out, 32<<10)
	if isTerminal(a.out) {
		root.SetOut(a.out)
	} else {
		root.SetOut(out)
	}
	cmd, err := root.ExecuteContextC(ctx)
	if ferr := out.Flush(); ferr != nil && err == nil {
		err = fmt.Errorf("write the output: %w", ferr)
	}
	if err == nil {
		return 0
	}
	return a.tell(cmd, err)
}

// tell prints an error and returns the exit status.
func (a *app) tell(cmd *cobra.Command, err error) int {
	if errors.Is(err, errTold) {
		return exitError
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	var usage usageError
	isUsage := errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command ")
	fmt.Fprintf(a.err, "mlist: %s\n", printable(strings.TrimRight(err.Error(), "\n"), true))
	var hint hintError
	switch {
	case errors.As(err, &hint):
		fmt.Fprintf(a.err, "       %s\n", printable(hint.hint, true))
	case errors.Is(err, os.ErrPermission):
		fmt.Fprintln(a.err, "       Run it as root, or as the user that mlist's daemons run as.")
	}
	if isUsage {
		fmt.Fprintf(a.err, "       `%s --help` has examples.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitError
}

// command builds the tree of commands.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "mlist",
		Short: "a mailing-list manager that is an extension of your mail server",
		Long: `mlist is a mailing-list manager: mail comes in from the MTA by LMTP, is prepared once, and goes back to the MTA for
every member. "mlist serve" runs it, and the other commands administer lists, members and queues, while it runs or not.`,
		Example: `  mlist list create dev@lists.example.org --owner you@example.org
  mlist member add dev@lists.example.org ann@example.net "Bob <bob@example.com>"
  mlist queue ls
  mlist serve`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.becomeOwner(cmd) },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", "", "configuration file (or MLIST_CONFIG; "+config.DefaultPath+")")
	flags.BoolVar(&a.json, "json", false, "print JSON, for programs")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	family := func(title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
		for _, c := range commands {
			c.GroupID = title
			root.AddCommand(c)
		}
	}
	family("Lists and people", a.listCommand(), a.memberCommand(), a.domainCommand(), a.styleCommand(), a.templateCommand(), a.banCommand(), a.approvalCommand(), a.bounceCommand(),
		a.archiveCommand(), a.digestCommand())
	family("What waits for somebody", a.heldCommand(), a.requestCommand(), a.failedCommand())
	family("What became of mail, or would become", a.tryCommand(), a.traceCommand(), a.whyCommand(), a.messageCommand(), a.authCommand())
	family("Mail on its way", a.queueCommand(), a.postCommand(), a.segmentCommand())
	family("Watching and changing an installation", a.statusCommand(), a.topCommand(), a.doctorCommand(), a.reloadCommand(), a.configCommand(), a.postfixCommand(),
		a.dkimCommand(), a.pluginCommand(), a.storeCommand(), a.backupCommand(), a.restoreCommand())
	family("Daemons", append([]*cobra.Command{a.serveCommand()}, a.daemonCommands()...)...)
	root.AddCommand(a.versionCommand(), a.manCommand())
	a.complete(root)
	return root
}

// group is a command that only holds others.
func group(c *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	c.AddCommand(commands...)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, " or "))
		}
		return usageError{err}
	}
	return c
}

// between wants so many arguments; what names them in the error.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least {
			return usageError{fmt.Errorf("want %s", what)}
		}
		if most >= 0 && len(args) > most {
			return usageError{fmt.Errorf("unexpected argument %q: want %s", args[most], what)}
		}
		return nil
	}
}

// path is the configuration file, and whether somebody named it.
func (a *app) path() (path string, named bool) {
	path = a.configPath
	if path == "" {
		path = os.Getenv("MLIST_CONFIG")
	}
	if path == "" {
		return config.DefaultPath, false
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return path, true
}

// load reads the configuration. Without a file at the default place the defaults hold.
func (a *app) load() (*config.Config, error) {
	path, named := a.path()
	c, err := config.Load(path)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, os.ErrNotExist) && !named:
		return config.Default(), nil
	case errors.Is(err, os.ErrPermission):
		return nil, withHint(err, "Run it as root, or as mlist's user, who must be able to read it: `chown root:mlist %[1]s` and `chmod 640 %[1]s`.", path)
	case errors.Is(err, os.ErrNotExist):
		return nil, withHint(err, "--config or MLIST_CONFIG names it; `mlist config --defaults --output %s` makes one.", path)
	}
	return nil, err
}

// salvage is load for who has to go on with a file that is wrong: with what can be read of it.
func (a *app) salvage() (*config.Config, error) {
	c, err := a.load()
	if err == nil {
		return c, nil
	}
	path, _ := a.path()
	return config.Salvage(path), err
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// confirm asks a person, and refuses where there is none to ask.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.in) {
		return withHint(errors.New("not without a confirmation"), "%s Say so with --yes.", question)
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(a.in, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
