// Package postfix knows what mlist needs in Postfix's configuration: how to put it there
// and take it out again, the look-up tables by which Postfix knows lists, and what is wrong
// with what is there.
//
// Postfix's own postconf reads and writes its files, so that a main.cf of any shape stays
// as its administrator left it. Nothing here goes through a shell, every command ends in
// time, and whatever is changed is written down first.
package postfix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Instance is one Postfix, by its configuration directory.
type Instance struct {
	Dir string // such as /etc/postfix

	bin    string            // where postconf, postmap and postfix are
	params map[string]string // in effect; nil: not read yet
}

// ErrNone says that there is no Postfix here.
var ErrNone = errors.New("there is no Postfix here: no postconf in PATH or /usr/sbin")

// commandTime is what one of Postfix's commands may take.
const commandTime = 30 * time.Second

// Find finds Postfix's commands; dir "" is the instance that MAIL_CONFIG names, as for all
// of Postfix's own commands, or the default one.
func Find(ctx context.Context, dir string) (*Instance, error) {
	path, err := exec.LookPath("postconf")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/postconf"); err != nil {
			return nil, ErrNone
		}
	}
	p := &Instance{Dir: dir, bin: filepath.Dir(path)}
	if p.Dir == "" {
		p.Dir = os.Getenv("MAIL_CONFIG")
	}
	if p.Dir == "" {
		if p.Dir, err = p.run(ctx, "postconf", "-d", "-h", "config_directory"); err != nil {
			return nil, err
		}
	}
	// Postfix warns of a directory that is not spelled as its main.cf does.
	if p.Dir, err = filepath.Abs(p.Dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "main.cf")); err != nil {
		return nil, fmt.Errorf("this is no configuration directory of Postfix: %w", err)
	}
	return p, nil
}

// run runs one of Postfix's commands and returns what it printed.
func (p *Instance) run(ctx context.Context, name string, args ...string) (string, error) {
	out, _, err := p.runBoth(ctx, name, args...)
	return out, err
}

// runBoth returns what it said on standard error, too.
func (p *Instance) runBoth(ctx context.Context, name string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	if p.Dir != "" {
		args = append([]string{"-c", p.Dir}, args...)
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = time.Second // daemons that it leaves behind may hold its output
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return strings.TrimRight(out.String(), "\n"), strings.TrimSpace(said.String()), err
}

// Warnings are what postconf has to say of the configuration, a line each, without the
// numbers of lines, which change with each line that is added.
func (p *Instance) Warnings(ctx context.Context) ([]string, error) {
	_, said, err := p.runBoth(ctx, "postconf", "-n")
	var out []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if _, after, ok := strings.Cut(line, "postconf: warning: "); ok {
			line = after
		}
		out = append(out, lineNumber.ReplaceAllString(line, ""))
	}
	return out, err
}

var lineNumber = regexp.MustCompile(`, line \d+`)

// Param is a parameter in effect, with the parameters in it expanded. All are read at
// once, and again after a change.
func (p *Instance) Param(ctx context.Context, name string) (string, error) {
	if p.params == nil {
		out, err := p.run(ctx, "postconf", "-x")
		if err != nil {
			return "", err
		}
		p.params = map[string]string{}
		for line := range strings.SplitSeq(out, "\n") {
			key, value, _ := strings.Cut(line, "=")
			p.params[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	value, ok := p.params[name]
	if !ok {
		return "", fmt.Errorf("this Postfix has no parameter %s", name)
	}
	return value, nil
}

// raw is a parameter as main.cf has it, and whether it is there.
func (p *Instance) raw(ctx context.Context, name string) (value string, set bool, err error) {
	out, err := p.run(ctx, "postconf", "-n", name)
	if err != nil || out == "" {
		return "", false, err
	}
	_, value, _ = strings.Cut(out, "=")
	return strings.TrimSpace(value), true, nil
}

// service is an entry of master.cf on one line, with single blanks; "" if it is not there.
func (p *Instance) service(ctx context.Context, name string) (string, error) {
	out, err := p.run(ctx, "postconf", "-M", name)
	if err != nil {
		return "", err
	}
	return strings.Join(strings.Fields(out), " "), nil
}

// Chrooted tells whether a service runs in the queue directory.
func (p *Instance) Chrooted(ctx context.Context, name string) (bool, error) {
	entry, err := p.service(ctx, name)
	if err != nil {
		return false, err
	}
	return p.chroot(ctx, strings.Fields(entry))
}

// SMTPDChrooted tells whether an smtpd where mail comes in runs in the queue directory: on
// port 25, behind postscreen, or for submission.
func (p *Instance) SMTPDChrooted(ctx context.Context) (bool, error) {
	out, err := p.run(ctx, "postconf", "-M")
	if err != nil {
		return false, err
	}
	for entry := range strings.Lines(out) {
		fields := strings.Fields(entry)
		if len(fields) < 8 || fields[7] != "smtpd" || strings.Contains(entry, handBackLog) {
			continue
		}
		if chrooted, err := p.chroot(ctx, fields); err != nil || chrooted {
			return chrooted, err
		}
	}
	return false, nil
}

// chroot reads the fields of an entry of master.cf.
func (p *Instance) chroot(ctx context.Context, fields []string) (bool, error) {
	if len(fields) < 8 {
		return false, nil
	}
	if fields[4] != "-" {
		return fields[4] == "y", nil
	}
	// The default changed with Postfix 3.0; old configurations keep theirs.
	level, err := p.Param(ctx, "compatibility_level")
	return level == "0", err
}

// lookup asks a table for a key, as Postfix does; "" if it has none. A table that Postfix asks
// through its proxy is asked directly: the proxy runs only while Postfix does.
func (p *Instance) lookup(ctx context.Context, table, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "postmap"), "-c", p.Dir, "-q", key, strings.TrimPrefix(table, "proxy:"))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && !failed(said.String()) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask %s for %s: %w: %s", table, key, err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// failed tells whether one of Postfix's commands said more than warnings: of those main.cf
// may be the cause, and all commands repeat them.
func failed(said string) bool {
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, ": warning: ") {
			return true
		}
	}
	return false
}

// Reload has a running Postfix read its configuration again. Whether it runs is told.
func (p *Instance) Reload(ctx context.Context) (running bool, err error) {
	if _, err := p.run(ctx, "postfix", "status"); err != nil {
		return false, nil
	}
	_, err = p.run(ctx, "postfix", "reload")
	return true, err
}

// split takes a value of main.cf apart: at commas and blanks that are in no braces.
func split(value string) []string {
	var out []string
	depth, start := 0, -1
	for i, r := range value {
		switch {
		case r == '{':
			depth++
		case r == '}' && depth > 0:
			depth--
		case depth == 0 && strings.ContainsRune(", \t\r\n", r):
			if start >= 0 {
				out = append(out, value[start:i])
			}
			start = -1
			continue
		}
		if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		out = append(out, value[start:])
	}
	return glue(out)
}

// glue puts "inline:" and its braces together, which may stand apart.
func glue(items []string) []string {
	var out []string
	for _, item := range items {
		if n := len(out); n > 0 && strings.HasSuffix(out[n-1], ":") && strings.HasPrefix(item, "{") {
			out[n-1] += item
			continue
		}
		out = append(out, item)
	}
	return out
}
