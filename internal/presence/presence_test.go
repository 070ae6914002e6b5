package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// client is a session that notes how it was ended.
type client struct {
	card   Card
	kicked []Farewell
}

func (c *client) Card() *Card       { return &c.card }
func (c *client) Kick(why Farewell) { c.kicked = append(c.kicked, why) }

func session(id string, account uint64) *client {
	c := &client{}
	c.card.Begin("imap", id, "192.0.2.1", time.Unix(100, 0))
	c.card.Change(func(s *State) { s.Account, s.User = account, fmt.Sprintf("user%d@example.org", account) })
	return c
}

// desk is one over some sessions.
func desk(process string, clients ...*client) *Desk {
	d := NewDesk(process)
	d.Add(func() (all []Session) {
		for _, c := range clients {
			all = append(all, c)
		}
		return all
	})
	return d
}

// lines is a bus of some desks.
type lines struct {
	desks []*Desk
	err   error
}

func (l *lines) AskEach(_ context.Context, subject string, question []byte, _ time.Duration, each func([]byte) error) error {
	if subject != bus.SessionsAsk {
		return fmt.Errorf("asked on %s", subject)
	}
	for _, d := range l.desks {
		for _, a := range d.answer(question) {
			if err := each(a); err != nil {
				return err
			}
		}
	}
	return l.err
}

func (l *lines) Notify(_ string, payload []byte) error {
	return l.AskEach(context.Background(), bus.SessionsAsk, payload, 0, func([]byte) error { return nil })
}

// gathered is a stream that keeps what is sent.
type gathered struct {
	grpc.ServerStream
	sent []*adminv1.SessionsListResponse
}

func (g *gathered) Context() context.Context { return context.Background() }
func (g *gathered) Send(r *adminv1.SessionsListResponse) error {
	g.sent = append(g.sent, r)
	return nil
}

func (g *gathered) ids() string {
	var all []string
	for _, r := range g.sent {
		for _, s := range r.Sessions {
			all = append(all, r.Process+":"+s.Id)
		}
	}
	return strings.Join(all, " ")
}

// TestList: all processes tell, each at least once, of an account's sessions or of all, also before a login.
func TestList(t *testing.T) {
	l := &lines{desks: []*Desk{desk("a", session("1", 7), session("2", 8), session("3", 0)), desk("b", session("4", 7)), desk("c")}}
	s := New(l, nil, slog.New(slog.DiscardHandler))
	for _, tc := range []struct {
		account uint64
		want    string
	}{{0, "a:1 a:2 a:3 b:4"}, {7, "a:1 b:4"}, {9, ""}} {
		var g gathered
		if err := s.List(&adminv1.SessionsListRequest{Account: tc.account}, &g); err != nil || g.ids() != tc.want || len(g.sent) != 3 {
			t.Errorf("account %d: got %q in %d answers, %v; want %q in 3", tc.account, g.ids(), len(g.sent), err, tc.want)
		}
	}
	l.err = errors.New("away")
	if err := s.List(&adminv1.SessionsListRequest{}, &gathered{}); err == nil {
		t.Error("a bus that is away is no error")
	}
}

// TestEnd: the sessions of an account end, or one, and no others; nobody is ended without an account.
func TestEnd(t *testing.T) {
	mine, other, stranger, elsewhere := session("1", 7), session("2", 8), session("3", 0), session("4", 7)
	l := &lines{desks: []*Desk{desk("a", mine, other, stranger), desk("b", elsewhere)}}
	s := New(l, nil, slog.New(slog.DiscardHandler))
	resp, err := s.End(t.Context(), &adminv1.SessionsEndRequest{Account: 7, Session: "4", Text: "enough"})
	if err != nil || len(resp.Ended) != 1 || resp.Processes != 2 || len(elsewhere.kicked) != 1 || elsewhere.kicked[0].Words() != "enough" || len(mine.kicked) != 0 {
		t.Fatalf("one session: %v, %v; ended %v and %v", resp, err, mine.kicked, elsewhere.kicked)
	}
	resp, err = s.End(t.Context(), &adminv1.SessionsEndRequest{Account: 7})
	if err != nil || len(resp.Ended) != 2 || len(mine.kicked) != 1 || mine.kicked[0].Words() != "session ended by the operator" {
		t.Fatalf("all sessions: %v, %v; ended %v", resp, err, mine.kicked)
	}
	if err := End(l, []uint64{8}, adminv1.EndReason_END_REASON_REMOVED); err != nil || len(other.kicked) != 1 || other.kicked[0].Words() != "the account was removed" {
		t.Errorf("removed: %v, %v", err, other.kicked)
	}
	for name, req := range map[string]*adminv1.SessionsEndRequest{
		"no account": {}, "line end": {Account: 7, Text: "a\r\n* OK"}, "code": {Account: 7, Text: "[ALERT] a"}, "long": {Account: 7, Text: strings.Repeat("a", 201)},
	} {
		if _, err := s.End(t.Context(), req); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
	everybody, _ := proto.Marshal(&adminv1.SessionsQuestion{End: adminv1.EndReason_END_REASON_OPERATOR})
	forged, _ := proto.Marshal(&adminv1.SessionsQuestion{Accounts: []uint64{7}, End: adminv1.EndReason_END_REASON_OPERATOR, Text: "a\r\nb"})
	for _, q := range [][]byte{everybody, forged, []byte("\xff")} {
		l.desks[0].answer(q)
	}
	if len(stranger.kicked) != 0 || len(mine.kicked) != 1 || len(other.kicked) != 1 {
		t.Errorf("ended without being asked for: %v %v %v", stranger.kicked, mine.kicked, other.kicked)
	}
}

// TestAnswersFit: the answer of a process with very many sessions comes in messages that a bus takes.
func TestAnswersFit(t *testing.T) {
	var many []*client
	for i := range 3*perAnswer + 1 {
		c := session(fmt.Sprint(i), 7)
		c.card.Change(func(s *State) {
			s.Folder, s.Program, s.User = strings.Repeat("ü\x1b", 1000), strings.Repeat("p", 9000), strings.Repeat("u", 254)
		})
		many = append(many, c)
	}
	answers := desk("a", many...).answer(nil)
	n := 0
	for _, a := range answers {
		r := &adminv1.SessionsListResponse{}
		if err := proto.Unmarshal(a, r); err != nil || len(a) > 900<<10 {
			t.Errorf("an answer of %d octets, %v", len(a), err)
		}
		n += len(r.Sessions)
		if f := r.Sessions[0].Folder; strings.ContainsRune(f, '\x1b') || len(f) > textMax+2 {
			t.Errorf("a folder is shown as %q", f)
		}
	}
	if n != len(many) || len(answers) != 4 {
		t.Errorf("%d sessions in %d answers, want %d in 4", n, len(answers), len(many))
	}
}

// people is a directory that knows some accounts.
type people struct {
	known map[uint64]bool
	err   error
}

func (p people) Who(_ context.Context, in *directoryv1.WhoRequest, _ ...grpc.CallOption) (*directoryv1.WhoResponse, error) {
	r := &directoryv1.WhoResponse{}
	for _, id := range in.Ids {
		if p.known[id] {
			r.Addresses = append(r.Addresses, "somebody@example.org")
		} else {
			r.Addresses = append(r.Addresses, "")
		}
	}
	return r, p.err
}

// TestRemovalThatNobodyHeardOf: sessions of accounts that are gone end, unless the directory does not answer.
func TestRemovalThatNobodyHeardOf(t *testing.T) {
	here, gone, stranger := session("1", 7), session("2", 8), session("3", 0)
	d := desk("a", here, gone, stranger)
	d.sweep(t.Context(), people{err: errors.New("away")})
	if len(gone.kicked) != 0 {
		t.Fatal("a directory that is away ends sessions")
	}
	d.sweep(t.Context(), people{known: map[uint64]bool{7: true}})
	if len(here.kicked) != 0 || len(stranger.kicked) != 0 || len(gone.kicked) != 1 || gone.kicked[0].Reason != adminv1.EndReason_END_REASON_REMOVED {
		t.Errorf("ended: %v, %v, %v", here.kicked, stranger.kicked, gone.kicked)
	}
}
