package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk/message"
)

// authTime bounds what looking into DNS for one message may take.
const authTime = 30 * time.Second

func (a *app) authCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "auth",
		Short:   "who vouches for a message",
		Example: `  mlist auth verify < post.eml`,
	}, a.authVerifyCommand())
}

func (a *app) authVerifyCommand() *cobra.Command {
	var spf string
	var reasons bool
	c := &cobra.Command{
		Use:   "verify [FILE|-]",
		Short: "judge a message's DKIM signatures, ARC chain and DMARC",
		Long: `Judges a message from FILE, or from standard input, and prints one line of JSON: each DKIM signature from the top of the
message down, the ARC chain, and DMARC, in the result words of RFC 8601. Lines that end in LF count as if they ended in CRLF.

SPF cannot be told from a message: --spf-pass names the domain that it passed for, if it did, for DMARC. --reasons says on
standard error why something does not pass.

MLIST_DNS_FILE names a file that stands in for DNS: {"name": ["text of a TXT record", ...]}; a name that is not in it
does not exist. The exit status is 0 whatever the results, and 1 if the message could not be read.`,
		Example: `  mlist auth verify < post.eml
  mlist auth verify post.eml --reasons
  mlist auth verify post.eml --spf-pass bounces.example.org
  MLIST_DNS_FILE=dns.json mlist auth verify < post.eml`,
		Args: between(0, 1, "a file, or - for standard input"),
	}
	c.Flags().StringVar(&spf, "spf-pass", "", "the domain of the envelope sender, if SPF passed")
	c.Flags().BoolVar(&reasons, "reasons", false, "say why something does not pass")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path := "-"
		if len(args) > 0 {
			path = args[0]
		}
		why := io.Discard
		if reasons {
			why = cmd.ErrOrStderr()
		}
		return a.verifyMessage(cmd.Context(), cmd.OutOrStdout(), why, path, spf)
	}
	return c
}

// authView is what is printed.
type authView struct {
	DKIM  []dkimView      `json:"dkim"`
	ARC   mailauth.Result `json:"arc"`
	DMARC mailauth.Result `json:"dmarc"`
}

type dkimView struct {
	Domain   string          `json:"domain"`
	Selector string          `json:"selector"`
	Result   mailauth.Result `json:"result"`
}

// verifyMessage writes the results to w, and the reasons to why.
func (a *app) verifyMessage(ctx context.Context, w, why io.Writer, path, spf string) (err error) {
	dns, err := mailauth.FromEnvironment()
	if err != nil {
		return err
	}
	in, size, done, err := a.seekable(path)
	if err != nil {
		return err
	}
	defer func() { err = closing(err, done) }()
	block, at, err := message.Split(in, size)
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, authTime)
	defer cancel()
	h := message.ParseHeader(block)
	v := mailauth.Verifier{Resolver: dns}
	found, err := v.Verify(ctx, h, io.NewSectionReader(in, at, size-at))
	if err != nil {
		return err
	}
	view := authView{DKIM: []dkimView{}, ARC: found.ARC.Result}
	for _, s := range found.DKIM {
		view.DKIM = append(view.DKIM, dkimView{s.Domain, s.Selector, s.Result})
	}
	// Where From names nobody, there is nobody's policy.
	dmarc := mailauth.DMARC{Result: mailauth.None, Reason: "From names no domain"}
	if authors := mailauth.AuthorDomains(h); len(authors) > 0 {
		dmarc = mailauth.Evaluate(ctx, dns, authors, found.DKIM, spf)
	}
	view.DMARC = dmarc.Result
	tellReasons(why, found, dmarc)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(view); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// tellReasons writes a line for each reason; much of it comes from the message.
func tellReasons(w io.Writer, found mailauth.Verdict, dmarc mailauth.DMARC) {
	tell := func(what string, r mailauth.Result, reason string) {
		if reason != "" {
			fmt.Fprintf(w, "%s: %s: %s\n", printable(what, false), r, printable(reason, false))
		}
	}
	for i, s := range found.DKIM {
		tell(fmt.Sprintf("dkim %d (%s, %s)", i+1, s.Domain, s.Selector), s.Result, s.Reason)
	}
	tell("arc", found.ARC.Result, found.ARC.Reason)
	tell("dmarc", dmarc.Result, dmarc.Reason)
}

// signKeys are the keys of [plugin.sign] in the configuration; domain, if not "", chooses.
func (a *app) signKeys(domain string) ([]mailauth.KeyFile, error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	all, err := configuredKeys(c)
	if err != nil {
		return nil, err
	}
	var chosen []mailauth.KeyFile
	for _, k := range all {
		if domain == "" || mailauth.SameDomain(k.Domain, domain) {
			chosen = append(chosen, k)
		}
	}
	if len(chosen) == 0 {
		if domain == "" {
			return nil, withHint(errors.New("[plugin.sign] has no key"), "`mlist dkim keygen DOMAIN` makes one.")
		}
		return nil, withHint(fmt.Errorf("[plugin.sign] has no key for %s", domain), "`mlist dkim keygen %s` makes one.", domain)
	}
	return chosen, nil
}

// configuredKeys are the keys of [plugin.sign].
func configuredKeys(c *config.Config) ([]mailauth.KeyFile, error) {
	text, err := json.Marshal(c.Plugin["sign"]["keys"])
	if err != nil {
		return nil, fmt.Errorf("[plugin.sign] keys: %w", err)
	}
	var all []mailauth.KeyFile
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("[plugin.sign] keys: want a list of tables with domain, selector and key_file: %w", err)
	}
	return all, nil
}

// signKeys has mlist's own mail signed like posts: not at all where stage sign does not run.
func signKeys(c *config.Config) (func(domain string) []spool.SignKey, error) {
	all, err := configuredKeys(c)
	if err != nil || len(all) == 0 || !slices.Contains(c.Pipeline.Stages, "sign") {
		return nil, err
	}
	return func(domain string) []spool.SignKey {
		var out []spool.SignKey
		for _, f := range mailauth.KeyFilesFor(all, domain) {
			out = append(out, spool.SignKey{Domain: f.Domain, Selector: f.Selector, File: f.Path})
		}
		return out
	}, nil
}
