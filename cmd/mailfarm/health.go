package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTime bounds the question: the process gives its own checks 2 s.
const healthTime = 4 * time.Second

func newHealth() *cobra.Command {
	var url string
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask a mailfarm on this machine whether it could serve now; exit status 2 if not",
		Long: `Ask a mailfarm on this machine whether it could serve now; exit status 2 if not. This is the health check of a container
that holds nothing but mailfarm.`,
		Example: "  mailfarm health\n  mailfarm health --url http://127.0.0.1:2080/healthz",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), healthTime)
			defer cancel()
			answer, err := askHealth(ctx, url)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), answer)
			return err
		},
	}
	c.Flags().StringVar(&url, "url", cmp.Or(os.Getenv("MAILFARM_HEALTH"), "http://127.0.0.1:2080/readyz"), "what to ask (MAILFARM_HEALTH)")
	return c
}

// askHealth returns what a mailfarm that is well answers. The way to it leads through no proxy.
func askHealth(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", url, err)
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("not ready: %s: %s", resp.Status, text)
	}
	return text, nil
}
