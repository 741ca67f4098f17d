package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
)

func (a *app) configCommand() *cobra.Command {
	var defaults, force bool
	var output string
	c := &cobra.Command{
		Use:   "config",
		Short: "print the configuration that is in effect",
		Long:  "Prints the configuration that is in effect: what the file says, and the default of every other key.",
		Example: `  mlist config
  mlist config check
  mlist config --defaults --output /etc/mlist/mlist.toml`,
		Args: between(0, 0, "nothing, or check"),
	}
	c.Flags().BoolVar(&defaults, "defaults", false, "print the file as it is installed: every key with its default, commented out")
	c.Flags().StringVar(&output, "output", "", "write to this file instead, which must not exist")
	c.Flags().BoolVar(&force, "force", false, "write over a file that exists")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := a.configText(defaults)
		if err != nil {
			return err
		}
		if output != "" {
			return writeNew(output, text, force)
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	c.AddCommand(&cobra.Command{
		Use:     "check",
		Short:   "tell what is wrong with the configuration file",
		Long:    "Tells what is wrong with the configuration file, and with the templates that it names. What plugins make of their tables, they tell when they start.",
		Example: "  mlist config check && systemctl reload mlist",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			if _, err := readTemplates(c); err != nil {
				return err
			}
			path, named := a.path()
			if _, err := os.Stat(path); err != nil && !named {
				path = "No file at " + path + ": the defaults hold"
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"config": path, "ok": true})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", path)
			return err
		},
	})
	return c
}

func (a *app) configText(defaults bool) ([]byte, error) {
	var b bytes.Buffer
	if defaults {
		err := config.WriteDefaults(&b)
		return b.Bytes(), err
	}
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	if a.json {
		err = printJSON(&b, c)
	} else {
		err = c.Write(&b)
	}
	return b.Bytes(), err
}

// writeNew writes a file, and over one that exists only if forced.
func writeNew(path string, text []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, os.ErrExist) {
		return withHint(err, "--force writes over it.")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return closing(err, f.Close)
}
