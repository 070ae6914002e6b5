package harness

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const imapdConf = `
configdirectory: %[1]s/conf
proc_path: %[1]s/conf/proc
mboxname_lockpath: %[1]s/conf/lock
defaultpartition: default
partition-default: %[1]s/spool
altnamespace: no
unixhierarchysep: no
admins: cyrus
proxyservers: %[2]s
allowplaintext: yes
autocreate_quota: -1
autocreate_post: no
conversations: 0
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: %[1]s/mux
sasl_mech_list: PLAIN
tls_server_cert: %[1]s/tls/imap.pem
tls_server_key: %[1]s/tls/imap.key
syslog_prefix: mailfarm-test
`

const cyrusConf = `
START {
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -r -C %[1]s/imapd.conf"
}
SERVICES {
  imap cmd="%[3]s -C %[1]s/imapd.conf" listen="127.0.0.1:%[2]d" prefork=0 proto="tcp4"
}
EVENTS {
}
`

// StartCyrus starts a Cyrus imapd whose users all have OtherPassword, and whose folders lie below INBOX, with dots between levels.
func StartCyrus(t testing.TB) *OtherIMAP {
	t.Helper()
	Need(t, "cyrmaster")
	NeedRoot(t, "start a Cyrus")
	imapd := Unpacked(t, "cyrus-imapd", "usr/lib/cyrus/bin/imapd")
	s := newOther(t, "cyrus")
	s.Port = freePorts(t, 1)[0]
	saslauthd(t, filepath.Join(s.dir, "mux"))
	errs := []error{
		os.WriteFile(filepath.Join(s.dir, "imapd.conf"), fmt.Appendf(nil, imapdConf, s.dir, OtherMaster), 0o644),
		os.WriteFile(filepath.Join(s.dir, "cyrus.conf"), fmt.Appendf(nil, cyrusConf, s.dir, s.Port, imapd), 0o644),
	}
	for _, folder := range []string{"conf", "conf/proc", "conf/lock", "conf/db", "conf/socket", "conf/log", "conf/msg", "conf/ptclient", "spool"} {
		errs = append(errs, os.MkdirAll(filepath.Join(s.dir, folder), 0o755))
	}
	errs = append(errs, exec.Command("chown", "-R", "cyrus", s.dir).Run())
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	s.run("/usr/sbin/cyrmaster", "-C", filepath.Join(s.dir, "imapd.conf"), "-M", filepath.Join(s.dir, "cyrus.conf"), "-p", filepath.Join(s.dir, "pid"))
	return s
}

// saslauthd answers as the daemon of that name does: four counted strings, of which the second is the password.
func saslauthd(t testing.TB, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				answer := "NO"
				for i := range 4 {
					var n uint16
					if binary.Read(r, binary.BigEndian, &n) != nil {
						return
					}
					text := make([]byte, n)
					if _, err := io.ReadFull(r, text); err != nil {
						return
					}
					if i == 1 && string(text) == OtherPassword {
						answer = "OK"
					}
				}
				c.Write(append([]byte{0, byte(len(answer))}, answer...))
			}()
		}
	}()
}
