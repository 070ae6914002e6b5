package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pki"
)

// OtherPassword is what all users of somebody else's IMAP server have.
const OtherPassword = "other-secret"

// OtherMaster is a user who may log in for all others, with OtherPassword.
const OtherMaster = "master"

// OtherIMAP is somebody else's IMAP server, in a folder of the test. It ends with the test.
type OtherIMAP struct {
	t testing.TB
	// Host is its name, Port where it takes STARTTLS, and PortTLS where TLS comes first; 0: it has none.
	Host          string
	Port, PortTLS int
	// CA is the file with the authority of its certificate.
	CA  string
	dir string
}

const dovecotConf = `
protocols = imap
listen = 127.0.0.1
base_dir = %[1]s/run
log_path = %[1]s/log
ssl_cert = <%[1]s/tls/imap.pem
ssl_key = <%[1]s/tls/imap.key
disable_plaintext_auth = no
auth_master_user_separator = *
mail_location = sdbox:~/mail
mail_plugins = acl
mail_fsync = never
namespace inbox {
  inbox = yes
  separator = .
  prefix = INBOX.
  mailbox "Sent Items" {
    special_use = \Sent
    auto = create
  }
}
protocol imap {
  mail_plugins = acl imap_acl
}
plugin {
  acl = vfile
  acl_user = %%u
}
passdb {
  driver = passwd-file
  master = yes
  args = %[1]s/masters
}
passdb {
  driver = static
  args = password=%[2]s
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=%[1]s/users/%%u
}
service imap-login {
  inet_listener imap {
    port = %[3]d
  }
  inet_listener imaps {
    port = %[4]d
    ssl = yes
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
`

// StartDovecot starts a Dovecot whose users all have OtherPassword.
func StartDovecot(t testing.TB) *OtherIMAP {
	t.Helper()
	Need(t, "dovecot")
	NeedRoot(t, "start a Dovecot")
	ports := freePorts(t, 2)
	s := newOther(t, "dovecot")
	s.Port, s.PortTLS = ports[0], ports[1]
	users := filepath.Join(s.dir, "users")
	conf := filepath.Join(s.dir, "dovecot.conf")
	if err := errors.Join(
		os.Mkdir(users, 0o755), os.Chown(users, 65534, 65534),
		os.WriteFile(filepath.Join(s.dir, "masters"), []byte(OtherMaster+":{PLAIN}"+OtherPassword+"\n"), 0o644),
		os.WriteFile(conf, fmt.Appendf(nil, dovecotConf, s.dir, OtherPassword, s.Port, s.PortTLS), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	s.run("dovecot", "-F", "-c", conf)
	return s
}

// newOther makes the folder and the certificate.
func newOther(t testing.TB, name string) *OtherIMAP {
	t.Helper()
	dir, err := os.MkdirTemp("", name) // the testing package's folders are closed to the user that the server runs as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ca, err := pki.Open(filepath.Join(dir, "tls"))
	if err == nil {
		_, err = ca.Issue("imap", pki.Server, "localhost")
	}
	if err := errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return &OtherIMAP{t: t, Host: "localhost", dir: dir, CA: filepath.Join(dir, "tls", "ca.pem")}
}

// run starts the server's program and waits until it listens.
func (s *OtherIMAP) run(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	said := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Env = append(os.Environ(), "CYRUS_VERBOSE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	s.t.Cleanup(func() {
		if s.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Logf("log of %s:\n%s\n%s", name, tail([]byte(said.String())), tail(log))
		}
	})
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // those of its children that are slow
	})
	Eventually(s.t, name+" listens", func() bool {
		select {
		case <-ended:
			s.t.Fatalf("%s ended: %s", name, tail([]byte(said.String())))
		default:
		}
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
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

// Doveadm runs a command of Dovecot's for a user.
func (s *OtherIMAP) Doveadm(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("doveadm", append([]string{"-c", filepath.Join(s.dir, "dovecot.conf")}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("doveadm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
