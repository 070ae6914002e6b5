// Command mailfarm is the whole farm: its roles, and the operator's verbs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker: -ldflags "-X main.version=…".
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs one command line and returns the exit status: 0 done, 1 an audit or a check that found something or an import that left
// messages or a restore of messages that are not kept, 2 an error.
func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	switch c, err := root.ExecuteContextC(ctx); {
	case err == nil:
		return 0
	case err == errUnaccounted, err == errDamage, err == errLeft, err == errNotKept:
		return 1
	default:
		fmt.Fprintln(os.Stderr, "mailfarm:", tell(c, err))
		return 2
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mailfarm",
		Short: "A mail server farm: SMTP in and out, IMAP, POP3, filters, and a store that loses nothing",
		Long: `mailfarm is a mail server farm in one executable.

"mailfarm dev" starts all of it in one process on loopback, ready to try.
"mailfarm run all" does the same for production on one machine.
The other commands are the operator's: they talk to a running mailfarm.`,
		Example: `  mailfarm dev
  mailfarm account add carol@example.org
  mailfarm queue list
  mailfarm trace --rcpt alice@example.org`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.AddCommand(
		newDev(),
		newRun(),
		newSetup(),
		newJoin(),
		newFarm(),
		newConfig(),
		newAccount(),
		newDomain(),
		newAlias(),
		newGroup(),
		newACL(),
		newShare(),
		newMailbox(),
		newQueue(),
		newTrace(),
		newBan(),
		newQuota(),
		newIndex(),
		newAudit(),
		newFsck(),
		newUndelete(),
		newImport(),
		newExport(),
		newMigrate(),
		newHold(),
		newRetention(),
		newExpire(),
		newBackup(),
		newRestore(),
		newBlob(),
		newCA(),
		newHealth(),
		newSecrets(),
		newDrain(),
		newVersion(),
	)
	sayUsage(root)
	return root
}

// sayUsage lets errors of a command line say how it is written.
func sayUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: see `%s --help`", err, c.CommandPath())
	})
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) == nil {
				return nil
			}
			return fmt.Errorf("%s: it is written `%s`: see `%s --help`", strings.Join(append([]string{c.CommandPath()}, args...), " "), c.UseLine(), c.CommandPath())
		}
	}
	for _, sub := range c.Commands() {
		sayUsage(sub)
	}
}

// group is a command that only holds others; a misspelt one is an error, with what was perhaps meant.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			text := fmt.Sprintf("unknown command %q: see `mailfarm %s --help`", args[0], use)
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				text += "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return errors.New(text)
		},
		SuggestionsMinimumDistance: 2,
	}
}
