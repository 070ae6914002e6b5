package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// namedEmail is an email that names itself.
func namedEmail(account, id, octets int) index.Email {
	text := fmt.Sprintf("%c%d/%d ", message.Version, account, id)
	return index.Email{ID: mailbox.EmailID(id), PartIndex: append([]byte(text), make([]byte, octets)...)}
}

// TestEmailCache: what is found is what was put there, of that account, in the order asked for, and all is bounded, from many
// goroutines.
func TestEmailCache(t *testing.T) {
	const octets = 100_000
	c := newEmailCache(octets)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 7))
			hits := 0
			for range 5000 {
				account := 1 + r.IntN(3)
				ids := make([]mailbox.EmailID, 1+r.IntN(20))
				for i := range ids {
					ids[i] = mailbox.EmailID(1 + r.IntN(60)) // some twice
				}
				found := map[int]bool{}
				missing, drops := c.get(mailbox.AccountID(account), ids, func(i int, e index.Email) {
					found[i] = true
					if want := namedEmail(account, int(ids[i]), 1000); e.ID != want.ID || !slices.Equal(e.PartIndex, want.PartIndex) {
						t.Errorf("account %d, email %d: got %.20q", account, ids[i], e.PartIndex)
					}
				})
				hits += len(found)
				var read []index.Email
				for i, id := range ids {
					if !found[i] {
						if missing[len(read)] != id {
							t.Errorf("missing %v of %v, found %v", missing, ids, found)
							return
						}
						read = append(read, namedEmail(account, int(id), 1000))
					}
				}
				if len(read) != len(missing) {
					t.Errorf("missing %v of %v, found %v", missing, ids, found)
					return
				}
				c.add(mailbox.AccountID(account), drops, read)
				if r.IntN(10) == 0 {
					c.drop(mailbox.AccountID(account), ids[0])
				}
			}
			if hits == 0 {
				t.Error("nothing was ever found")
			}
		})
	}
	wg.Wait()
	size := int64(0)
	for _, e := range c.young {
		size += emailCost + int64(len(e.PartIndex))
	}
	if size != c.size || size > octets/2 {
		t.Errorf("the young generation has %d octets, counted as %d, of %d", size, c.size, octets/2)
	}
	for _, e := range c.old {
		size += emailCost + int64(len(e.PartIndex))
	}
	if size > octets {
		t.Errorf("%d octets are held, more than %d", size, octets)
	}
}

// TestEmailCacheKeepsNot: what is too large, or of another version, is asked for each time; so is everything without a cache.
func TestEmailCacheKeepsNot(t *testing.T) {
	older := namedEmail(1, 2, 10)
	older.PartIndex[0] = message.Version - 1
	for _, tt := range []struct {
		name   string
		octets int64
		email  index.Email
		kept   bool
	}{
		{"small", 10_000, namedEmail(1, 2, 10), true},
		{"large", 10_000, namedEmail(1, 2, 6000), false},
		{"without an index", 10_000, index.Email{ID: 2}, false},
		{"an older index", 10_000, older, false},
		{"no memory", -1, namedEmail(1, 2, 10), false},
	} {
		c := newEmailCache(tt.octets)
		c.add(1, 0, []index.Email{tt.email})
		missing, _ := c.get(1, []mailbox.EmailID{2}, func(int, index.Email) {})
		if got := len(missing) == 0; got != tt.kept {
			t.Errorf("%s: kept %v, want %v", tt.name, got, tt.kept)
		}
	}
}

// TestEmailCacheDrops: what was replaced is not told any more, nor kept by who read it before.
func TestEmailCacheDrops(t *testing.T) {
	c := newEmailCache(10_000)
	kept := func() bool {
		missing, _ := c.get(1, []mailbox.EmailID{2}, func(int, index.Email) {})
		return len(missing) == 0
	}
	_, drops := c.get(1, []mailbox.EmailID{2}, func(int, index.Email) {})
	c.add(1, drops, []index.Email{namedEmail(1, 2, 10), namedEmail(1, 3, 10)})
	c.drop(1, 2)
	if kept() {
		t.Error("what was dropped is still told")
	}
	c.add(1, drops, []index.Email{namedEmail(1, 2, 10)})
	if kept() {
		t.Error("what was read before the drop is kept")
	}
	if _, ok := c.young[emailKey{1, 3}]; !ok || len(c.young) != 1 || c.size != emailCost+int64(len(namedEmail(1, 3, 10).PartIndex)) {
		t.Errorf("%d are left, of %d octets", len(c.young), c.size)
	}
}

// countedEmails are emails that name themselves, of any id; each is counted when it is read.
type countedEmails struct {
	index.Mailboxes
	read int
}

func (c *countedEmails) Emails(_ context.Context, account mailbox.AccountID, ids []mailbox.EmailID, _ bool) (emails []index.Email, err error) {
	for _, id := range ids {
		e := namedEmail(int(account), int(id), 10)
		e.Blob = blob.ID{Incarnation: 1, Segment: 1, Offset: 64, Length: 100}
		emails = append(emails, e)
	}
	c.read += len(ids)
	return emails, nil
}

// emailsHeard is a call's end that counts what comes.
type emailsHeard struct {
	grpc.ServerStream
	ctx context.Context
	ids []uint64
}

func (s *emailsHeard) Context() context.Context { return s.ctx }

func (s *emailsHeard) SendMsg(m any) error {
	page := &storev1.EmailsResponse{}
	octets, err := proto.Marshal(m.(proto.Message))
	if err == nil {
		err = proto.Unmarshal(octets, page)
	}
	for _, e := range page.GetEmails() {
		s.ids = append(s.ids, e.GetId())
	}
	return err
}

func (s *emailsHeard) Send(m *storev1.EmailsResponse) error { return s.SendMsg(m) }

// TestEmailsOfAWholeMailboxAreNotKept: a few are read once, however often they are asked for; many are read each time, and push
// out nothing.
func TestEmailsOfAWholeMailboxAreNotKept(t *testing.T) {
	read := &countedEmails{}
	s := &mailboxes{Service: &Service{deps: Deps{Mailboxes: read}, emails: newEmailCache(100_000)}}
	for _, tt := range []struct{ first, n, want int }{
		{1, 20, 20}, {1, 20, 0}, {1, emailsKept, emailsKept - 20}, {1, emailsKept, 0},
		{1, emailsKept + 1, emailsKept + 1}, {1001, 1000, 1000}, {1001, 1000, 1000}, {1, 20, 0}, {1, emailsKept, 0},
	} {
		req := &storev1.EmailsRequest{Account: 7}
		for i := range tt.n {
			req.Emails = append(req.Emails, uint64(tt.first+i))
		}
		read.read = 0
		heard := &emailsHeard{ctx: t.Context()}
		if err := s.Emails(req, heard); err != nil {
			t.Fatal(err)
		}
		if read.read != tt.want || !slices.Equal(heard.ids, req.Emails) {
			t.Errorf("%d emails from %d: %d were read, want %d; heard of %d", tt.n, tt.first, read.read, tt.want, len(heard.ids))
		}
	}
}
