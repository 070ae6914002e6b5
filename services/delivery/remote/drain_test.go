package remote

import (
	"net"
	"strings"
	"testing"
	"time"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestDrainBeforeDot cuts off a dialogue that has not come to the final dot: no attempt, and due again at once.
func TestDrainBeforeDot(t *testing.T) {
	for name, script := range map[string]string{
		"greeting": "wait",
		"EHLO":     "S: 220 hi\nC: EHLO\nwait",
		"STARTTLS": "S: 220 hi\nC: EHLO\nS: 250-hi\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nwait",
		"MAIL":     upTo["MAIL"] + "wait",
		"DATA":     upTo["DATA"] + "wait",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", func(w *world) { w.cfg.KeepConnection = time.Minute })
			peer := newScript(t, script)
			reached := make(chan struct{})
			w.net.at("192.0.2.1", func(c net.Conn) {
				peer.before("wait", reached)
				peer.serve(c)
			})
			m := w.send(letterTo("bob@example.net"), body)
			<-reached
			began := time.Now()
			w.stop()
			if took := time.Since(began); took > 2500*time.Millisecond {
				t.Errorf("it took %v to stop", took)
			}
			w.want(m, "queued ")
			if r := w.rows(m)[0]; r.Attempts != 0 || r.DueNs > w.now().UnixNano() {
				t.Errorf("row %v, want it due and without attempt", r)
			}
			if w.sweep() != 1 {
				t.Error("the next process does not find it")
			}
		})
	}
}

// TestDrainAfterDot waits for the peer's word on a message that it has, and reports it.
func TestDrainAfterDot(t *testing.T) {
	w := newWorld(t, "", nil)
	reached, answer := make(chan struct{}), make(chan struct{})
	peer := newScript(t, upTo["dot"])
	w.net.at("192.0.2.1", func(c net.Conn) {
		peer.serveOpen(c)
		close(reached)
		<-answer
		c.Write([]byte("250 ok\r\n"))
	})
	m := w.send(letterTo("bob@example.net"), body)
	<-reached
	go func() {
		<-w.service.drain.beforeDot.Done()
		close(answer)
	}()
	w.stop()
	w.want(m, "relayed 250 2.0.0 ok")
}

// TestDrainIsBounded gives up on a peer that never says what it did with the message.
func TestDrainIsBounded(t *testing.T) {
	w := newWorld(t, "", nil)
	reached := make(chan struct{})
	peer := newScript(t, upTo["dot"]+"wait")
	w.net.at("192.0.2.1", func(c net.Conn) {
		peer.before("wait", reached)
		peer.serve(c)
	})
	m := w.send(letterTo("bob@example.net"), body)
	<-reached
	w.stop() // patience bounds it; the role's own bound is answerTime
	if r := w.rows(m)[0]; r.State != storev1.State_STATE_QUEUED || r.Attempts != 1 || !strings.HasSuffix(r.LastReply, "it may have arrived") {
		t.Errorf("row %v", r)
	}
}

// TestDrainHandsBack what was not begun: the next process sends it.
func TestDrainHandsBack(t *testing.T) {
	w := newWorld(t, "", func(w *world) { w.cfg.Connections, w.cfg.ConnectionsPerDestination = 1, 1 })
	reached := make(chan struct{})
	first := newScript(t, "wait")
	w.net.at("192.0.2.1", func(c net.Conn) {
		first.before("wait", reached)
		first.serve(c)
	})
	var mails []mail
	for range 20 {
		mails = append(mails, w.send(letterTo("bob@example.net"), body))
	}
	<-reached
	w.stop()
	s := newServer(t, false)
	w.net.at("192.0.2.1", s.serve)
	w.pass(2 * time.Minute)
	w.sweep()
	w.start()
	w.wait(len(mails))
	for _, m := range mails {
		if got := w.states(m)[0]; !strings.HasPrefix(got, "relayed ") {
			t.Error(got)
		}
	}
	if got, _ := s.took(); len(got) != len(mails) {
		t.Errorf("%d of %d messages arrived", len(got), len(mails))
	}
}
