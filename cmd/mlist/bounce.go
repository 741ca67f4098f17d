package main

import "github.com/spf13/cobra"

func (a *app) bounceCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "bounce",
		Short:   "look at bounces",
		Example: `  mlist bounce parse < bounce.eml`,
	}, a.bounceParseCommand())
}
