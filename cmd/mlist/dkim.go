package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/mailauth"
)

func (a *app) dkimCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "dkim",
		Short: "the keys that mlist signs and seals with",
		Long: `The stage sign signs with the keys of [plugin.sign]. A key is changed in four steps: make the next one (keygen) and add it
with standby = true; publish its record and wait until "check" finds it; move standby = true to the old one and reload;
take the old one out, of DNS too, when no mail signed with it is on its way any more (a week).`,
		Example: `  mlist dkim keygen lists.example.org
  mlist dkim show
  mlist dkim check lists.example.org`,
	}, a.dkimKeygen(), a.dkimShow(), a.dkimCheck())
}

func (a *app) dkimKeygen() *cobra.Command {
	var selector, algorithm, dir string
	c := &cobra.Command{
		Use:   "keygen DOMAIN",
		Short: "make a key, and print the record to publish and the lines for the configuration",
		Long: `Makes a key for a domain, in a file that only its owner can read, and prints the DNS record to publish and the lines for
mlist.toml. An RSA key of 2048 bits is what every receiver understands; an Ed25519 key can sign beside it.`,
		Example: `  mlist dkim keygen lists.example.org
  mlist dkim keygen lists.example.org --selector 2027a
  mlist dkim keygen lists.example.org --algorithm ed25519`,
		Args: between(1, 1, "one domain"),
	}
	f := c.Flags()
	f.StringVar(&selector, "selector", "", "name of the key (the year and month)")
	f.StringVar(&algorithm, "algorithm", "rsa", "rsa or ed25519")
	f.StringVar(&dir, "dir", "", "directory for the file (dkim, beside the configuration)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		k := mailauth.KeyFile{Domain: strings.ToLower(strings.TrimSuffix(args[0], ".")), Selector: selector}
		if k.Selector == "" {
			k.Selector = "mlist" + time.Now().Format("200601")
			if algorithm != "rsa" {
				k.Selector += "e"
			}
		}
		if dir == "" {
			dir = filepath.Join(filepath.Dir(a.configName()), "dkim")
		}
		return a.makeKey(cmd.OutOrStdout(), k, algorithm, dir)
	}
	return c
}

func (a *app) makeKey(w io.Writer, k mailauth.KeyFile, algorithm, dir string) error {
	text, err := mailauth.Generate(algorithm)
	if err != nil {
		return usageError{err}
	}
	key, err := mailauth.NewKey(k.Domain, k.Selector, text)
	if err != nil {
		return usageError{err}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	k.Path = filepath.Join(dir, k.Domain+"."+k.Selector+".key")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	uid, gid, reader := serviceUser()
	if err := writeKey(k.Path, text, uid, gid); err != nil {
		if errors.Is(err, os.ErrExist) {
			return withHint(fmt.Errorf("make a key: %w", err), "A key that may be in use is never overwritten: choose another --selector.")
		}
		return fmt.Errorf("make a key: %w", err)
	}
	view, err := viewKey(k, key)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(w, view)
	}
	fmt.Fprintf(w, "The private key is in %s; %s.\n\n", k.Path, reader)
	fmt.Fprintf(w, "Publish in DNS:\n\n%s\n\n", view.zone())
	fmt.Fprintf(w, "Add to %s:\n\n", a.configName())
	fmt.Fprintf(w, "[[plugin.sign.keys]]\ndomain = %q\nselector = %q\nkey_file = %q\nstandby = true\n\n", k.Domain, k.Selector, k.Path)
	fmt.Fprintf(w, "When `mlist dkim check %s` finds it, take the last line out, and `mlist reload`.\n", k.Domain)
	return nil
}

func (a *app) configName() string {
	path, _ := a.path()
	return path
}

// serviceUser is whom a key is given to: the user that the packages run mlist as, if root makes
// the key and there is such a user. reader says who has to be able to read it, or is.
func serviceUser() (uid, gid int, reader string) {
	if u, err := user.Lookup("mlist"); err == nil && os.Geteuid() == 0 {
		return number(u.Uid), number(u.Gid), "it belongs to the user mlist"
	}
	return -1, -1, "the user that mlist runs as must be able to read it"
}

// writeKey writes a file that is not there yet, for its owner alone, and syncs it. -1 leaves it
// whose it is.
func writeKey(path string, text []byte, uid, gid int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chown(uid, gid)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// keyView is a key as --json shows it.
type keyView struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"`
	File      string `json:"file"`
	Standby   bool   `json:"standby"`
	Name      string `json:"name"`
	Record    string `json:"record"`
}

func viewKey(f mailauth.KeyFile, k *mailauth.Key) (keyView, error) {
	record, err := mailauth.Record(k.Public())
	return keyView{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm(), File: f.Path, Standby: f.Standby,
		Name: k.Selector + "._domainkey." + k.Domain, Record: record}, err
}

// zone is the record for a zone file, in strings of at most 255 octets.
func (v keyView) zone() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. IN TXT (", v.Name)
	for rest := v.Record; rest != ""; {
		n := min(len(rest), 250)
		fmt.Fprintf(&b, "\n\t%q", rest[:n])
		rest = rest[n:]
	}
	b.WriteString(" )")
	return b.String()
}

func (a *app) dkimShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show [DOMAIN]",
		Short:   "print the DNS records of the keys in the configuration",
		Example: "  mlist dkim show\n  mlist dkim show lists.example.org --json",
		Args:    between(0, 1, "one domain, or none for all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			views := []keyView{}
			err := a.eachKey(args, func(f mailauth.KeyFile, k *mailauth.Key) error {
				v, err := viewKey(f, k)
				views = append(views, v)
				return err
			})
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), views)
			}
			for _, v := range views {
				note := ""
				if v.Standby {
					note = ", on standby"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "; %s, %s%s\n%s\n", v.Algorithm, v.File, note, v.zone())
			}
			return nil
		},
	}
}

func (a *app) dkimCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [DOMAIN]",
		Short: "see whether DNS has the keys of the configuration",
		Long: `Looks each key of [plugin.sign] up in DNS, as receivers do. The exit status is 1 if one that signs is not there or differs: mail
would fail then. A key on standby may be missing; it must not sign before it is found.`,
		Example: "  mlist dkim check\n  mlist dkim check lists.example.org",
		Args:    between(0, 1, "one domain, or none for all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), authTime)
			defer cancel()
			return a.checkKeys(ctx, cmd.OutOrStdout(), args)
		},
	}
}

// keyCheck is what `dkim check` found out about a key.
type keyCheck struct {
	Name    string `json:"name"`
	Standby bool   `json:"standby"`
	Problem string `json:"problem"`
}

func (a *app) checkKeys(ctx context.Context, w io.Writer, args []string) error {
	dns, err := mailauth.FromEnvironment()
	if err != nil {
		return err
	}
	checks, bad := []keyCheck{}, false
	err = a.eachKey(args, func(f mailauth.KeyFile, k *mailauth.Key) error {
		c := keyCheck{Name: f.String(), Standby: f.Standby}
		if err := k.CheckPublished(ctx, dns); err != nil {
			c.Problem = err.Error()
			bad = bad || !f.Standby
		}
		checks = append(checks, c)
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		if err := printJSON(w, checks); err != nil {
			return err
		}
	} else {
		for _, c := range checks {
			role, found := "signs", "found"
			if c.Standby {
				role = "on standby"
			}
			if c.Problem != "" {
				found = c.Problem
			}
			fmt.Fprintf(w, "%s (%s): %s\n", c.Name, role, printable(found, false))
		}
	}
	if bad {
		return exitStatus(exitError)
	}
	return nil
}

// eachKey calls f with each key of the configuration, or those of a domain.
func (a *app) eachKey(args []string, f func(mailauth.KeyFile, *mailauth.Key) error) error {
	files, err := a.signKeys(strings.Join(args, ""))
	if err != nil {
		return err
	}
	for _, file := range files {
		k, err := file.Load()
		if err == nil {
			err = f(file, k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
