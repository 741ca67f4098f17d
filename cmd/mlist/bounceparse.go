package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/bounce"
)

// parsed is what `mlist bounce parse` prints.
type parsed struct {
	Recipients []parsedRecipient `json:"recipients"`
	Complaints []parsedComplaint `json:"complaints,omitempty"`
}

type parsedRecipient struct {
	Address   string       `json:"address"`
	Permanent bool         `json:"permanent"`
	Class     bounce.Class `json:"class"`
	Status    string       `json:"status"`
}

type parsedComplaint struct {
	Address string `json:"address,omitempty"`
	Type    string `json:"type"`
	Agent   string `json:"agent,omitempty"`
}

func (a *app) bounceParseCommand() *cobra.Command {
	complaints := false
	c := &cobra.Command{
		Use:   "parse [FILE]",
		Short: "say which recipients a bounce names, and why",
		Long: `Parse reads a message from a file or from standard input and prints JSON: whom it did not reach, whether the reason is
permanent (a status of 5.x.x, and nobody goes on trying), what kind of reason it is, and the status code of RFC 3463. A
message that is no bounce gives an empty list: so does a complaint about spam, which --complaints shows.`,
		Example: `  mlist bounce parse < bounce.eml
  mlist bounce parse bounce.eml --complaints`,
		Args: between(0, 1, "one file at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := a.in
			if len(args) == 1 {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			out, err := parseBounce(in, complaints)
			if err != nil {
				return err
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetEscapeHTML(false)
			return e.Encode(out)
		},
	}
	c.Flags().BoolVar(&complaints, "complaints", false, "print complaints (RFC 5965), too")
	return c
}

func parseBounce(in io.Reader, complaints bool) (parsed, error) {
	out := parsed{Recipients: []parsedRecipient{}}
	report, err := bounce.Parse(in)
	if err != nil && !errors.Is(err, bounce.ErrNoReport) {
		return out, fmt.Errorf("parse: %w", err)
	}
	for _, r := range report.Undelivered() {
		out.Recipients = append(out.Recipients, parsedRecipient{r.Address, r.Failed(), r.Class, r.Status})
	}
	if complaints {
		for _, c := range report.Complaints {
			out.Complaints = append(out.Complaints, parsedComplaint{c.Address, c.Type, c.Agent})
		}
	}
	return out, nil
}
