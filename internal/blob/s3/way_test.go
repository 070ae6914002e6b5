package s3_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/servers"
)

// action is what becomes of a request.
type action int

const (
	pass     action = iota
	slow            // passed on after a while
	refuse          // 503, not passed on
	full            // 507, not passed on
	cut             // the connection is closed when half of the body was read
	lose            // passed on, then the connection is closed without an answer
	doubt           // passed on, then 503
	mistag          // passed on; the answer has another ETag
	vanish          // the connection is closed at once
	truncate        // passed on, then the connection is closed behind half of the answer
	spoil           // passed on with one octet changed, and without the digest that would tell
)

// faulty is a way to an S3 server on which things go wrong.
type faulty struct {
	next http.Handler

	mu    sync.Mutex // guards rule
	rule  func(r *http.Request) action
	delay time.Duration
}

func newFaulty(next http.Handler) *faulty { return &faulty{next: next, delay: 30 * time.Millisecond} }

// set has all requests from here on go by the rule; nil: all pass.
func (f *faulty) set(rule func(r *http.Request) action) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rule = rule
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	rule := f.rule
	f.mu.Unlock()
	what := pass
	if rule != nil {
		what = rule(r) // may wait
	}
	switch what {
	case slow:
		select {
		case <-time.After(f.delay):
		case <-r.Context().Done():
		}
	case refuse:
		fail(w, r, http.StatusServiceUnavailable, "SlowDown")
		return
	case full:
		fail(w, r, http.StatusInsufficientStorage, "XMinioStorageFull")
		return
	case vanish:
		panic(http.ErrAbortHandler)
	case cut:
		io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		panic(http.ErrAbortHandler)
	case lose, doubt, mistag, truncate, spoil:
		f.after(w, r, what)
		return
	}
	f.next.ServeHTTP(w, r)
}

// fail answers as an S3 server does.
func fail(w http.ResponseWriter, r *http.Request, status int, code string) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	io.WriteString(w, "<Error><Code>"+code+"</Code><Message>a test's doing</Message></Error>")
}

// after passes the request on and changes the answer.
func (f *faulty) after(w http.ResponseWriter, r *http.Request, what action) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if what == spoil && len(body) > 0 {
		body[len(body)/2] ^= 1
		r.Header.Del("Content-Md5")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	f.next.ServeHTTP(answer, r)
	switch what {
	case lose:
		panic(http.ErrAbortHandler)
	case doubt:
		fail(w, r, http.StatusServiceUnavailable, "SlowDown")
		return
	case mistag:
		if answer.Header().Get("ETag") != "" {
			answer.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
		}
	}
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
	w.WriteHeader(answer.Code)
	if octets := answer.Body.Bytes(); what != truncate {
		w.Write(octets)
	} else {
		w.Write(octets[:len(octets)/2])
		panic(http.ErrAbortHandler)
	}
}

// toward is a way to a real server.
func toward(t testing.TB, server *servers.S3Server) http.Handler {
	t.Helper()
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}

// isPut tells of a request that stores an object below a folder of the prefix.
func isPut(r *http.Request, folder string) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blob/"+folder)
}

// segmentOf is the number of the segment that a request puts, or -1.
func segmentOf(r *http.Request) int {
	if !isPut(r, "seg/") {
		return -1
	}
	n, err := strconv.Atoi(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	if err != nil || r.ContentLength <= 40 {
		return -1 // a seal
	}
	return n
}
