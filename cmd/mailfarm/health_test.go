package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealthIsTheAnswer(t *testing.T) {
	code := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, `{"bus":"away"}`)
	}))
	if got := execute(t.Context(), []string{"health", "--url", s.URL + "/readyz"}); got != 0 {
		t.Errorf("answer 200: exit status %d, want 0", got)
	}
	code = http.StatusServiceUnavailable
	if got := execute(t.Context(), []string{"health", "--url", s.URL + "/readyz"}); got != 2 {
		t.Errorf("answer 503: exit status %d, want 2", got)
	}
	s.Close()
	if got := execute(t.Context(), []string{"health", "--url", s.URL + "/readyz"}); got != 2 {
		t.Errorf("nobody there: exit status %d, want 2", got)
	}
}
