package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/imapsource"
	"github.com/mailfarm/mailfarm/internal/migrate"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newMigrate() *cobra.Command {
	d := &door{}
	c := group("migrate", "Bring accounts from another mail server that is running")
	d.flags(c)
	c.AddCommand(migrateIMAP(d))
	return c
}

// source are the flags that say how to reach the other server.
type source struct {
	csv, host, security, name, ca          string
	port                                   int
	insecure, noCompress, masterAuthzid    bool
	masterUser, masterFile, separator, cmd string
	rate                                   int
	report                                 string
}

func migrateIMAP(d *door) *cobra.Command {
	run := &migrate.Run{}
	src := &source{}
	c := &cobra.Command{
		Use:   "imap --csv FILE",
		Short: "Bring accounts from another IMAP server, in as many passes as are wanted; exit status 1 if something was left",
		Long: `Bring folders, messages, flags, keywords, dates, subscriptions and access control lists of accounts on another IMAP server
into accounts here. Nothing is changed there.

FILE names in its first line its columns, and then an account in each:

  account,user,password
  alice@example.org,alice,@alice.password
  bob@example.org,bob,secret

account is the address here, which must be there already (mailfarm account add). Further columns: host, port, tls (implicit, starttls or
none), token, master_user, master_password, source_name. A password or token that begins with "@" names a file that holds it,
relative to FILE.

The same command again is the next pass: it brings what is new, carries over flags that changed there, and goes on where a pass was cut
off, also by a kill; nothing comes twice. Flags that were changed here stay, unless the same flag changed there since. Messages that are
removed there stay here, unless --delete is given. Messages that were removed here are not brought again, unless --again is given.

UIDs and UIDVALIDITY come along where the folder here has no messages yet, so that clients need not download anything again.

The exit status is 0 where all was brought, 1 where something was left (the report says what and why), 2 after an error.`,
		Example: `  mailfarm migrate imap --csv accounts.csv --host imap.old.example --dry-run
  mailfarm migrate imap --csv accounts.csv --host imap.old.example --connections 8 --rate 5000000
  mailfarm migrate imap --csv accounts.csv --host imap.old.example --master-user admin --master-password-file admin.password
  mailfarm migrate imap --csv accounts.csv --host imap.old.example --token-command ./token
  mailfarm migrate imap --csv accounts.csv --host imap.old.example --delete --verify --report cutover.json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if run.Accounts, err = src.accounts(c.Context(), conn); err != nil {
				return err
			}
			run.Identifier = identifiers(c.Context(), conn, run.Accounts)
			run.State = cmp.Or(run.State, src.csv+".migrate")
			run.Imports, run.Mailboxes = storev1.NewImportsClient(conn), storev1.NewMailboxesClient(conn)
			run.Bodies, run.Sharing = storev1.NewBodiesClient(conn), storev1.NewSharingClient(conn)
			run.Progress = migrateProgress(os.Stderr)
			report, err := run.Run(c.Context())
			if report != nil {
				if src.report != "" {
					err = errors.Join(err, writeReport(src.report, report))
				}
				if printed := printMigrated(c.OutOrStdout(), report, d.json); err == nil {
					err = printed
				}
			}
			if err == nil && !report.Complete() {
				err = errLeft
			}
			if errors.Is(err, context.Canceled) {
				return errors.New("interrupted: give the same command again to go on")
			}
			return err
		},
	}
	src.flags(c)
	f := c.Flags()
	f.StringToStringVar(&run.Rename, "map", nil, "OLD=NEW: bring folder OLD, and what lies below it, as NEW (may be given often)")
	f.StringSliceVar(&run.Exclude, "exclude", nil, `folder that is left there; "NAME/*" with what lies below it (may be given often)`)
	f.BoolVar(&run.DryRun, "dry-run", false, "only tell what would be brought")
	f.BoolVar(&run.Delete, "delete", false, "delete here what was brought, is not there any more, and was not touched here")
	f.BoolVar(&run.Verify, "verify", false, "read all messages there and here and compare their digests")
	f.BoolVar(&run.Renumbered, "renumbered", false, "bring folders anew whose UIDVALIDITY changed there; what was brought before stays too")
	f.BoolVar(&run.Again, "again", false, "bring back what was brought before and removed here since")
	f.BoolVar(&run.OverQuota, "over-quota", false, "bring messages also where an account has no room for them")
	f.BoolVar(&run.NoACL, "no-acl", false, "do not bring access control lists")
	f.IntVar(&run.Connections, "connections", 4, "accounts that are brought at a time")
	f.IntVar(&run.PerServer, "per-server", 4, "accounts that are brought at a time from one server")
	f.StringVar(&run.State, "state", "", "folder where passes note what they did; keep it until the last one (default FILE.migrate)")
	return c
}

func (s *source) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.csv, "csv", "", "list of accounts (required)")
	f.StringVar(&s.host, "host", "", "the other server, where the list does not tell")
	f.IntVar(&s.port, "port", 0, "its port (default 993, or 143 with --tls starttls or none)")
	f.StringVar(&s.security, "tls", "", "implicit, starttls or none (default implicit; starttls on port 143)")
	f.StringVar(&s.ca, "source-ca", "", "file with the CA certificate of the other server")
	f.BoolVar(&s.insecure, "insecure-skip-verify", false, "do not check the other server's certificate: whoever is on the way can read passwords and mail")
	f.StringVar(&s.name, "source-name", "", "what the other server is called in what is noted of messages; must be the same in all passes (default its host name)")
	f.StringVar(&s.masterUser, "master-user", "", "log in as this user for all accounts")
	f.StringVar(&s.masterFile, "master-password-file", "", "file with the password of --master-user, where the list has no column master_password")
	f.StringVar(&s.separator, "master-separator", "*", "what stands between the account's user and the master user at login")
	f.BoolVar(&s.masterAuthzid, "master-authzid", false, "name the account's user as SASL PLAIN's authorization identity, not in the login name (Cyrus)")
	f.StringVar(&s.cmd, "token-command", "", "program that prints an OAuth2 access token; it is run with the user as its argument, for each connection")
	f.IntVar(&s.rate, "rate", 0, "octets a second that are read, of all connections together (default: no limit)")
	f.BoolVar(&s.noCompress, "no-compress", false, "do not use COMPRESS=DEFLATE")
	f.StringVar(&s.report, "report", "", "write the report to this file as well, as JSON")
	if err := c.MarkFlagRequired("csv"); err != nil {
		panic(err)
	}
}

// accounts reads the list and finds the accounts here.
func (s *source) accounts(ctx context.Context, conn *grpc.ClientConn) ([]*migrate.Account, error) {
	defaults, err := s.defaults()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(s.csv)
	if err != nil {
		return nil, fmt.Errorf("read --csv: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(os.Stderr, "mailfarm: %s can be read by others on this machine; if it holds passwords: chmod 600 %[1]s\n", s.csv)
	}
	list, err := migrate.ReadCSV(f, filepath.Dir(s.csv), *defaults)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.csv, err)
	}
	var missing []error
	for _, a := range list {
		if a.ID, err = accountID(ctx, conn, a.Target); err != nil {
			missing = append(missing, err)
		}
	}
	return list, errors.Join(missing...)
}

// defaults are what holds for all accounts.
func (s *source) defaults() (*migrate.Account, error) {
	a := &migrate.Account{Source: s.name}
	a.Server = imapsource.Server{Host: s.host, Port: s.port, Security: s.security, Compress: !s.noCompress,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.insecure}}
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, fmt.Errorf("read --source-ca: %w", err)
		}
		a.Server.TLS.RootCAs = x509.NewCertPool()
		if !a.Server.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read --source-ca: %s holds no certificate", s.ca)
		}
	}
	if s.rate < 0 {
		return nil, errors.New("--rate is a number of octets a second")
	}
	if s.rate > 0 {
		a.Server.Rate = rate.NewLimiter(rate.Limit(s.rate), max(s.rate/10, 4096))
	}
	a.Login.Separator = s.separator
	if s.masterAuthzid {
		a.Login.Separator = ""
	}
	a.Login.Master = s.masterUser
	if s.masterFile != "" {
		if s.masterUser == "" {
			return nil, errors.New("--master-password-file is that of --master-user")
		}
		var err error
		if a.Login.Password, err = migrate.Secret("@"+s.masterFile, ""); err != nil {
			return nil, fmt.Errorf("read --master-password-file: %w", err)
		}
	}
	if s.cmd != "" {
		a.TokenFor = func(ctx context.Context, user string) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, s.cmd, user).Output()
			token := strings.TrimSpace(string(out))
			if err != nil {
				return "", fmt.Errorf("%s: %w", s.cmd, err)
			}
			if token == "" {
				return "", fmt.Errorf("%s printed nothing", s.cmd)
			}
			return token, nil
		}
	}
	return a, nil
}

// identifiers tells who users of the source are here: accounts of the list, and addresses that are accounts here.
func identifiers(ctx context.Context, conn *grpc.ClientConn, list []*migrate.Account) func(source, id string) string {
	known := map[string]string{}
	for _, a := range list {
		known[a.Source+"\x00"+strings.ToLower(a.Login.User)] = a.Target
	}
	var mu sync.Mutex
	here := map[string]bool{}
	return func(source, id string) string {
		id = strings.ToLower(id)
		if to := known[source+"\x00"+id]; to != "" {
			return to
		}
		if id == "anyone" || id == "authenticated" {
			return id
		}
		if !strings.Contains(id, "@") {
			return ""
		}
		mu.Lock()
		defer mu.Unlock()
		there, asked := here[id]
		if !asked {
			resp, err := directoryv1.NewIdentitiesClient(conn).Identify(ctx, &directoryv1.IdentifyRequest{Addresses: []string{id}})
			if err != nil {
				return ""
			}
			there = len(resp.ByAddress) == 1 && resp.ByAddress[0].GetAccount() != 0
			here[id] = there
		}
		if !there {
			return ""
		}
		return id
	}
}

// migrateProgress prints a line for an account every few seconds.
func migrateProgress(w io.Writer) func(*migrate.AccountReport, *migrate.FolderReport) {
	var mu sync.Mutex
	last := map[string]time.Time{}
	return func(a *migrate.AccountReport, f *migrate.FolderReport) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last[a.Account]) >= 5*time.Second {
			last[a.Account] = now
			fmt.Fprintf(w, "%s: %s: %d of %d messages brought (%d octets)\n", oneLine(a.Account, 60), oneLine(f.Folder, 60), f.Brought, f.There, f.Octets)
		}
	}
}
