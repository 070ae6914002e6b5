// Command aid stands in an image beside a server that is all there is in it: it asks a URL for the health check, and gives
// the server secrets from files in variables where the server reads no files.
//
//	aid ask [-ca FILE] URL            exit status 0 if the answer is 200 within 5 s
//	aid run PROGRAM [ARGUMENT…]       NAME_FILE=path in the environment becomes NAME=what the file holds
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// askTime bounds a question.
const askTime = 5 * time.Second

func main() {
	if err := do(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "aid:", err)
		os.Exit(1)
	}
}

func do(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "ask":
		return ask(args[1], "")
	case len(args) == 4 && args[0] == "ask" && args[1] == "-ca":
		return ask(args[3], args[2])
	case len(args) >= 2 && args[0] == "run":
		env, err := fromFiles(os.Environ())
		if err != nil {
			return err
		}
		return fmt.Errorf("start %s: %w", args[1], syscall.Exec(args[1], args[1:], env))
	}
	return errors.New("usage: aid ask [-ca FILE] URL | aid run PROGRAM [ARGUMENT…]")
}

// ask is nil if url answers 200. With caFile only certificates of its authority will do.
func ask(url, caFile string) error {
	transport := &http.Transport{}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// fromFiles replaces each NAME_FILE=path by NAME=content, without the line end.
func fromFiles(env []string) ([]string, error) {
	out := make([]string, 0, len(env))
	for _, e := range env {
		name, path, _ := strings.Cut(e, "=")
		plain, ok := strings.CutSuffix(name, "_FILE")
		if !ok {
			out = append(out, e)
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, plain+"="+strings.TrimRight(string(content), "\r\n"))
	}
	return out, nil
}
