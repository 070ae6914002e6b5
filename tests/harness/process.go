package harness

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Process is one process of a farm.
type Process struct {
	t testing.TB
	// Name is of its role, with a number where there are more of it: "store", "imap-2".
	Name    string
	binary  string   // the executable; empty: the one under test
	args    []string // of the command that starts it
	wrapper []string // what starts that command
	http    string   // where it tells whether it is ready
	log     *lockedBuffer

	cmd  *exec.Cmd
	exit chan error
}

func (f *Farm) add(name, http string, args ...string) *Process {
	p := &Process{t: f.t, Name: name, args: args, http: http, log: f.log}
	f.procs = append(f.procs, p)
	return p
}

// Launch starts the process without waiting for it to be ready.
func (p *Process) Launch(env ...string) {
	p.t.Helper()
	binary := p.binary
	if binary == "" {
		binary = Binary(p.t)
	}
	line := append(append(slices.Clone(p.wrapper), binary), p.args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exit := make(chan error, 1)
	p.cmd, p.exit = cmd, exit
	go func() { exit <- cmd.Wait() }()
}

// Start starts the process and returns once it is ready.
func (p *Process) Start(env ...string) {
	p.t.Helper()
	p.Launch(env...)
	p.WaitReady()
}

// Use has the process started from another executable from its next start on.
func (p *Process) Use(binary string) { p.binary = binary }

// WaitReady waits until the process says that it is ready.
func (p *Process) WaitReady() {
	p.t.Helper()
	if err := p.waitReady(); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.Name, err, p.log.tail(100))
	}
}

func (p *Process) waitReady() error {
	deadline := time.Now().Add(Limit)
	for !p.Ready() {
		select {
		case err := <-p.exit:
			p.exit <- err
			return fmt.Errorf("mailfarm ended before it was ready: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.New("mailfarm did not become ready")
		}
	}
	return nil
}

// ReadyOrEnded waits until the process says that it is ready, or has ended, and tells whether it is ready.
func (p *Process) ReadyOrEnded() bool {
	p.t.Helper()
	err := p.waitReady()
	if err != nil && (p.Running() || !p.Ended(Limit)) {
		p.t.Fatalf("%s: %v\n%s", p.Name, err, p.log.tail(100))
	}
	return err == nil
}

// Ready tells whether the process says that it is.
func (p *Process) Ready() bool {
	resp, err := http.Get("http://" + p.http + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// HTTP is where it answers /readyz and /metrics.
func (p *Process) HTTP() string { return p.http }

// Kill ends the process as kill -9 does and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.exit
	p.cmd = nil
}

// Stop ends the process by SIGTERM and returns its error, if it had one.
func (p *Process) Stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.exit:
		p.cmd = nil
		return err
	case <-time.After(2 * Limit):
		p.Kill()
		return fmt.Errorf("%s did not end on SIGTERM", p.Name)
	}
}

// Ended waits for the process to end by itself and tells whether it did within d.
func (p *Process) Ended(d time.Duration) bool {
	select {
	case <-p.exit:
		p.cmd = nil
		return true
	case <-time.After(d):
		return false
	}
}

// Running tells whether the process lives.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case err := <-p.exit:
		p.exit <- err
		return false
	default:
		return true
	}
}

// Pause stops the process's clock, as it were, until Resume: it lives and does nothing.
func (p *Process) Pause() { p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() { p.cmd.Process.Signal(syscall.SIGCONT) }

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }
