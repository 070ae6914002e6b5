package migrate

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mailfarm/mailfarm/internal/imapsource"
)

// columns are those that a list may have.
var columns = []string{"account", "user", "password", "host", "port", "tls", "token", "master_user", "master_password", "source_name"}

// ReadCSV reads a list of accounts: a header that names its columns, then a line for each. What a line leaves out is as in defaults.
// A value of password, token or master_password that begins with "@" names a file that holds it, relative to dir. All faults
// are told at once, by their lines and without values.
func ReadCSV(r io.Reader, dir string, defaults Account) ([]*Account, error) {
	c := csv.NewReader(r)
	c.TrimLeadingSpace, c.Comment, c.FieldsPerRecord = true, '#', -1
	header, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	for i, name := range header {
		header[i] = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if !slices.Contains(columns, header[i]) {
			return nil, fmt.Errorf("column %q is not known; there are: %s", name, strings.Join(columns, ", "))
		}
	}
	for _, need := range []string{"account", "user"} {
		if !slices.Contains(header, need) {
			return nil, fmt.Errorf("there is no column %q; the first line names the columns, as in: account,user,password", need)
		}
	}
	var list []*Account
	var faults []error
	seen := map[string]int{}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := c.FieldPos(0)
		if len(row) != len(header) {
			faults = append(faults, fmt.Errorf("line %d: %d values, and the header has %d", line, len(row), len(header)))
			continue
		}
		a, err := readRow(header, row, dir, defaults)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", line, err))
			continue
		}
		id := a.Source + "\x00" + a.Login.User + "\x00" + strings.ToLower(a.Target)
		if before := seen[id]; before != 0 {
			faults = append(faults, fmt.Errorf("line %d: the same as line %d", line, before))
			continue
		}
		seen[id] = line
		list = append(list, a)
	}
	if len(list) == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("there is no account in it"))
	}
	return list, errors.Join(faults...)
}

func readRow(header, row []string, dir string, defaults Account) (*Account, error) {
	a := defaults
	for i, name := range header {
		value := row[i]
		if value == "" {
			continue
		}
		var err error
		switch name {
		case "account":
			a.Target = value
		case "user":
			a.Login.User = value
		case "password":
			a.Login.Password, err = Secret(value, dir)
		case "token":
			a.Login.Token, err = Secret(value, dir)
		case "master_user":
			a.Login.Master = value
		case "master_password":
			a.Login.Password, err = Secret(value, dir)
		case "host":
			a.Server.Host = value
		case "port":
			a.Server.Port, err = strconv.Atoi(value)
			if err != nil || a.Server.Port < 1 || a.Server.Port > 65535 {
				err = errors.New("port is no number of a port")
			}
		case "tls":
			a.Server.Security = value
		case "source_name":
			a.Source = value
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return &a, a.complete()
}

// complete fills in what follows from the rest, and tells what is missing.
func (a *Account) complete() error {
	s := &a.Server
	switch {
	case a.Target == "":
		return errors.New("there is no account")
	case a.Login.User == "":
		return errors.New("there is no user")
	case s.Host == "":
		return errors.New("there is no host: give --host, or a column host")
	case a.Login.Password == "" && a.Login.Token == "" && a.TokenFor == nil:
		return errors.New("there is no password, token or master user")
	}
	if s.Security == "" {
		s.Security = imapsource.TLSImplicit
		if s.Port == 143 {
			s.Security = imapsource.TLSStart
		}
	}
	switch s.Security {
	case imapsource.TLSImplicit, imapsource.TLSStart, imapsource.TLSNone:
	default:
		return fmt.Errorf("tls is implicit, starttls or none, not %q", s.Security)
	}
	if s.Port == 0 {
		s.Port = 993
		if s.Security != imapsource.TLSImplicit {
			s.Port = 143
		}
	}
	if a.Source == "" {
		a.Source = strings.ToLower(s.Host)
	}
	return nil
}

// Secret is a value, or with "@" before it the first line of the file that it names.
func Secret(value, dir string) (string, error) {
	name, ok := strings.CutPrefix(value, "@")
	if !ok {
		return value, nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return line, nil
}
