package servers

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// limit is how long a server may take to be ready.
const limit = 30 * time.Second

// process is a server that a test started.
type process struct {
	cmd  *exec.Cmd
	exit chan struct{} // closed when it has ended
}

// start starts a program; what it says goes to log.
func start(log *output, path string, args ...string) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exit: make(chan struct{})}
	go func() {
		defer close(p.exit)
		cmd.Wait()
	}()
	return p, nil
}

// end sends a signal and waits for the process's end.
func (p *process) end(s syscall.Signal) {
	p.cmd.Process.Signal(s)
	select {
	case <-p.exit:
	case <-time.After(limit):
		p.cmd.Process.Kill()
		<-p.exit
	}
}

// ready waits until ok; an error where the process ends before, or it takes too long.
func (p *process) ready(ok func() bool) error {
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-p.exit:
			return fmt.Errorf("%s ended", p.cmd.Path)
		case <-deadline:
			return fmt.Errorf("%s is not ready after %v", p.cmd.Path, limit)
		}
	}
	return nil
}

// output keeps what servers say.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// tail is the last lines.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimRight(o.buf.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// freePorts finds ports of loopback that are free now.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
