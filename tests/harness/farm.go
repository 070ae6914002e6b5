// Package harness starts the real executable and what it needs around it, for tests that see only what a person or
// another server would see.
package harness

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/filelock"
)

// Limit is how long anything may take that a test waits for.
const Limit = 30 * time.Second

// DevPassword is what alice and bob of `mailfarm dev` have.
const DevPassword = "mailfarm-dev"

// The ports of `mailfarm dev`, before its offset.
const (
	portSMTP = 2525
	portMSA  = 2587
	portMSAS = 2465
	portLMTP = 2424
	portIMAP = 2143
	portIMAS = 2993
	portPOP  = 2110
	portPOPS = 2995
	portHTTP = 2080
	portAdm  = 2090
	portFree = 2200 // for FreeAddr
	// portParts is the first of two for each process of a farm's shape: gRPC and HTTP.
	portParts = 2210
)

var devPorts = []int{portSMTP, portMSA, portMSAS, portLMTP, portIMAP, portIMAS, portPOP, portPOPS, portHTTP, portAdm}

// Binary builds the executable, with crash points, once per test process, and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("MAILFARM_TEST_BIN"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "mailfarm-test-bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "mailfarm")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", "crashpoints", "-o", path, "github.com/mailfarm/mailfarm/cmd/mailfarm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mailfarm: %w\n%s", err, out)
	}
	return path, nil
})

// Farm is one mailfarm with its data folder; it may be started and killed many times. It is one process, or, in the farm's
// shape, a process for each role.
type Farm struct {
	t      testing.TB
	Data   string
	offset int
	imaps  string // where IMAP is with TLS, if not by offset
	log    *lockedBuffer

	// procs are the processes in the order in which they start.
	procs []*Process
	// Servers are what the processes share; nil where all is in one.
	Servers *Servers
}

// Dev prepares `mailfarm dev` in a new data folder, on ports of its own. Start starts it.
func Dev(t testing.TB, flags ...string) *Farm {
	t.Helper()
	return DevIn(t, filepath.Join(t.TempDir(), "data"), flags...)
}

// DevIn is Dev in a data folder of the caller's choice.
func DevIn(t testing.TB, data string, flags ...string) *Farm {
	t.Helper()
	f := &Farm{t: t, Data: data, offset: freeOffset(t), log: &lockedBuffer{}}
	f.add("all", f.HTTP(), append([]string{"dev", "--data", f.Data, "--port-offset", strconv.Itoa(f.offset)}, flags...)...)
	f.cleanUp()
	return f
}

// ConfigFile writes a configuration file for a test and returns its path.
func ConfigFile(t testing.TB, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mailfarm.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Run prepares `mailfarm run all` on a data folder, with the configuration given. It listens where that says: Launch starts
// it, and Listen tells where IMAP is.
func Run(t testing.TB, data, yaml string) *Farm {
	t.Helper()
	f := &Farm{t: t, Data: data, log: &lockedBuffer{}}
	f.add("all", f.HTTP(), "run", "all", "--data", data, "--config", ConfigFile(t, yaml))
	f.cleanUp()
	return f
}

func (f *Farm) cleanUp() {
	f.t.Cleanup(func() {
		for _, p := range f.procs {
			if p.cmd != nil {
				p.Kill()
			}
		}
		if f.t.Failed() {
			f.t.Logf("log of mailfarm:\n%s", f.log.tail(200))
		}
	})
}

// Listen says where a farm made by Run serves IMAP with TLS from the start.
func (f *Farm) Listen(imaps string) { f.imaps = imaps }

// StartDev is Dev, or a farm of processes alike where MAILFARM_SHAPE is "farm", started and ready.
func StartDev(t testing.TB, flags ...string) *Farm {
	t.Helper()
	f := prepare(t, flags)
	f.Start()
	return f
}

func prepare(t testing.TB, flags []string) *Farm {
	t.Helper()
	if InParts() {
		return Parts(t, Layout{}, flags...)
	}
	return Dev(t, flags...)
}

// Start starts the farm and returns once it is ready. env are variables "NAME=value" beside the test's own.
func (f *Farm) Start(env ...string) {
	f.t.Helper()
	f.Launch(env...)
	for _, p := range f.procs {
		p.WaitReady()
	}
}

// Wrap has the farm started by another program, which becomes it: strace -D does.
func (f *Farm) Wrap(command ...string) { f.only().wrapper = command }

// Launch starts the processes without waiting for them to be ready.
func (f *Farm) Launch(env ...string) {
	f.t.Helper()
	for _, p := range f.procs {
		p.Launch(env...)
	}
}

// Kill ends the processes as kill -9 does and waits for their end.
func (f *Farm) Kill() {
	for _, p := range f.procs {
		p.Kill()
	}
}

// Stop ends the processes by SIGTERM, the last started first, and returns their errors, if they had one.
func (f *Farm) Stop() error {
	var errs []error
	for _, p := range slices.Backward(f.procs) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// only is the process of a farm that is one.
func (f *Farm) only() *Process {
	f.t.Helper()
	if len(f.procs) != 1 {
		f.t.Fatal("this farm is more than one process")
	}
	return f.procs[0]
}

// Ended waits for the process to end by itself and tells whether it did within d.
func (f *Farm) Ended(d time.Duration) bool { return f.only().Ended(d) }

// Running tells whether the process lives.
func (f *Farm) Running() bool { return f.only().Running() }

// PID is the process's.
func (f *Farm) PID() int { return f.only().PID() }

// Log is what the process wrote so far, over all its starts.
func (f *Farm) Log() string { return f.log.String() }

func (f *Farm) addr(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+f.offset))
}

// The addresses it listens on.
func (f *Farm) SMTP() string         { return f.addr(portSMTP) }
func (f *Farm) Submission() string   { return f.addr(portMSA) }
func (f *Farm) SubmissionS() string  { return f.addr(portMSAS) }
func (f *Farm) LMTP() string         { return f.addr(portLMTP) }
func (f *Farm) IMAP() string         { return f.addr(portIMAP) }
func (f *Farm) IMAPS() string        { return cmp.Or(f.imaps, f.addr(portIMAS)) }
func (f *Farm) POP3() string         { return f.addr(portPOP) }
func (f *Farm) POP3S() string        { return f.addr(portPOPS) }
func (f *Farm) AdminAddress() string { return f.addr(portAdm) }

// HTTP is where /readyz and /metrics are answered: in a farm of processes the first store's, which audits.
func (f *Farm) HTTP() string {
	if f.Servers != nil {
		return f.Process("store").HTTP()
	}
	return f.addr(portHTTP)
}

// CA is the file with the certificate of the farm's private authority.
func (f *Farm) CA() string { return filepath.Join(f.Data, "tls", "ca.pem") }

// Port is an address's, as text.
func Port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// CLI runs one of the operator's verbs on the farm and returns its standard output. It must succeed.
func (f *Farm) CLI(args ...string) string {
	f.t.Helper()
	out, code := f.CLIStatus(args...)
	if code != 0 {
		f.t.Fatalf("mailfarm %s: exit status %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// CLIStatus runs a verb and returns its output, standard error included, and its exit status.
func (f *Farm) CLIStatus(args ...string) (string, int) {
	f.t.Helper()
	return f.CLIInput("", args...)
}

// CLIInput is CLIStatus with something on standard input.
func (f *Farm) CLIInput(stdin string, args ...string) (string, int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(f.t), append(args, "--data", f.Data)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatalf("mailfarm %s: %v", strings.Join(args, " "), err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Audit is what `mailfarm audit --json` tells.
type Audit struct {
	Accepted, Delivered, Relayed, Bounced, Expanded, Discarded, Quarantined uint64
	Pending, Queued, Held, Dead, Unaccounted, Added, Generated, Frames      uint64
	Findings                                                                []map[string]any
}

// Audit asks for it.
func (f *Farm) Audit() Audit {
	f.t.Helper()
	out, code := f.CLIStatus("audit", "--json")
	var a Audit
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		f.t.Fatalf("audit (exit status %d): %v\n%s", code, err, out)
	}
	if (code == 1) != (a.Unaccounted > 0) {
		f.t.Errorf("audit: exit status %d with %d unaccounted", code, a.Unaccounted)
	}
	return a
}

// Settle waits until nothing is pending or queued, and returns the audit then.
func (f *Farm) Settle() Audit {
	f.t.Helper()
	var a Audit
	limit := 2 * Limit
	if f.Servers != nil {
		limit = 4 * Limit // its clocks may be a minute apart, and so what is due
	}
	settled := within(limit, func() bool {
		a = f.Audit()
		return a.Pending == 0 && a.Queued == 0 && a.Unaccounted == 0
	})
	if !settled {
		queue, _ := f.CLIStatus("queue", "list")
		f.t.Fatalf("something stays pending or queued: %+v\n%s", a, queue)
	}
	return a
}

// Eventually asks again and again until ok; what it asks for has no notice of its own.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !within(2*Limit, ok) {
		t.Fatalf("waited in vain for: %s", what)
	}
}

func within(limit time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(limit)
	for wait := time.Millisecond; !ok(); wait = min(2*wait, 200*time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(wait)
	}
	return true
}

// Offsets lie a block of ports apart and below the ports that the kernel gives to clients (32768 and up on Linux).
const offsetStep, offsets = 1000, 28

// freeOffset finds an offset at which all ports of dev are free, and keeps it from other tests until this one ends: those
// of other processes too.
func freeOffset(t testing.TB) int {
	t.Helper()
	first := os.Getpid()
	for i := range offsets {
		offset := (1 + (first+i)%offsets) * offsetStep
		lock, err := filelock.Take(filepath.Join(os.TempDir(), fmt.Sprintf("mailfarm-test-ports-%d.lock", offset)))
		if err != nil {
			continue
		}
		if !allFree(offset) {
			lock.Release()
			continue
		}
		t.Cleanup(func() { lock.Release() })
		return offset
	}
	t.Fatal("no free ports for mailfarm")
	return 0
}

// FreeAddr is a loopback address with a port that is free, and kept from other tests until this one ends.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freeOffset(t)+portFree))
}

func allFree(offset int) bool {
	ports := append([]int{portFree}, devPorts...)
	for i := range 2 * len(roles) {
		ports = append(ports, portParts+i)
	}
	for _, p := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p+offset)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// lockedBuffer keeps what a process writes.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail is the last lines.
func (b *lockedBuffer) tail(n int) string {
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

var _ io.Writer = (*lockedBuffer)(nil)

// Verb is one of the operator's verbs that goes on until it is ended, with what it prints line by line.
type Verb struct {
	t     testing.TB
	Lines chan string // of standard output; closed at its end
	Err   chan string // of standard error
	cmd   *exec.Cmd
	wg    sync.WaitGroup
}

// Follow starts a verb that goes on until Interrupt, or the test's end.
func (f *Farm) Follow(args ...string) *Verb {
	f.t.Helper()
	v := &Verb{t: f.t, Lines: make(chan string, 1000), Err: make(chan string, 1000)}
	v.cmd = exec.Command(Binary(f.t), append(args, "--data", f.Data)...)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err1 := v.cmd.StdoutPipe()
	complaints, err2 := v.cmd.StderrPipe()
	if err := errors.Join(err1, err2); err != nil {
		f.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	v.wg.Go(func() { lines(out, v.Lines) })
	v.wg.Go(func() { lines(complaints, v.Err) })
	f.t.Cleanup(func() {
		v.cmd.Process.Kill()
		v.wg.Wait()
		v.cmd.Wait()
	})
	return v
}

// Interrupt ends the verb as Ctrl-C does, and returns its exit status.
func (v *Verb) Interrupt() int {
	v.t.Helper()
	if err := v.cmd.Process.Signal(os.Interrupt); err != nil {
		v.t.Fatal(err)
	}
	v.wg.Wait()
	return ExitCode(v.t, v.cmd.Wait())
}

func lines(r io.Reader, to chan<- string) {
	defer close(to)
	s := bufio.NewScanner(r)
	for s.Scan() {
		to <- s.Text()
	}
}

// Line returns the next line, which must come in time.
func Line(t testing.TB, from <-chan string) string {
	t.Helper()
	select {
	case l, ok := <-from:
		if !ok {
			t.Fatal("the program ended")
		}
		return l
	case <-time.After(Limit):
		t.Fatal("waited in vain for a line")
	}
	return ""
}
