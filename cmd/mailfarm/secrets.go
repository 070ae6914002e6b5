package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/pki"
)

func newSecrets() *cobra.Command {
	var authority string
	var peers, servers, passwords []string
	c := &cobra.Command{
		Use:   "secrets",
		Short: "Hand out certificates and passwords to the services of a farm, each in a folder of its own",
		Long: `Hand out certificates and passwords to the services of a farm, each in a folder of its own. What is there and good stays, so
it may be called before every start.

--peer and --server put ca.pem, certificate.pem and key.pem into a folder; a certificate there that is not of this authority
is the operator's and stays. A peer also calls others, a server only answers them.
--password puts one random password into all files named, separated by commas.`,
		Example: `  mailfarm secrets --authority /secrets/authority --peer /secrets/roles=store,directory,filter --server /secrets/front=mx.example.org \
    --password /secrets/postgres/password,/secrets/roles/database_password`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := pki.Open(authority)
			if err != nil {
				return err
			}
			for _, p := range []struct {
				use     pki.Use
				parcels []string
			}{{pki.Peer, peers}, {pki.Server, servers}} {
				for _, parcel := range p.parcels {
					folder, hosts, ok := strings.Cut(parcel, "=")
					if !ok || folder == "" || hosts == "" {
						return fmt.Errorf("%q is not FOLDER=HOST,HOST…", parcel)
					}
					if err := a.Deliver(folder, p.use, strings.Split(hosts, ",")...); err != nil {
						return err
					}
				}
			}
			for _, files := range passwords {
				if err := sharePassword(strings.Split(files, ",")); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&authority, "authority", cmp.Or(os.Getenv("MAILFARM_CA"), "./ca"), "the authority's folder (MAILFARM_CA)")
	f.StringArrayVar(&peers, "peer", nil, "FOLDER=HOST,HOST…: certificate of a process that answers others and calls them")
	f.StringArrayVar(&servers, "server", nil, "FOLDER=HOST,HOST…: certificate of a server")
	f.StringArrayVar(&passwords, "password", nil, "FILE,FILE…: files of one password")
	return c
}

// sharePassword writes one password into all files: the one that some of them hold, or else a new one. Files that hold
// different ones are an error, as nobody knows which of them counts.
func sharePassword(files []string) error {
	var password, from string
	for _, f := range files {
		content, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		has := strings.TrimRight(string(content), "\r\n")
		if has == "" {
			return fmt.Errorf("%s is empty: put the password there, or remove it", f)
		}
		if password != "" && has != password {
			return fmt.Errorf("%s and %s are to hold the same password, and do not", from, f)
		}
		password, from = has, f
	}
	if password == "" {
		password = newPassword()
	}
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			return err
		}
		if err := writeSecret(f, password+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// newPassword has 228 bits in letters only: it stands in URLs, variables and configuration files of others as it is.
func newPassword() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	password := make([]byte, 0, 40)
	for len(password) < cap(password) {
		var b [1]byte
		rand.Read(b[:]) // never fails
		if n := int(b[0]); n < 4*len(letters) {
			password = append(password, letters[n%len(letters)])
		}
	}
	return string(password)
}

// writeSecret writes a file whole or not at all, and flushed: who reads the password may keep it for good.
func writeSecret(path, content string) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
