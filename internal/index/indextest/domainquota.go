package indextest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const limitedDomain = "limited.example"

// limit sets limits of limitedDomain, and places accounts in it.
func (s *Subject) limit(t *testing.T, limits, each index.Limits, accounts ...mailbox.AccountID) {
	t.Helper()
	if err := s.Domains.SetDomainQuota(t.Context(), limitedDomain, limits, each); err != nil {
		t.Fatal(err)
	}
	place := map[mailbox.AccountID]string{}
	for _, id := range accounts {
		place[id] = limitedDomain
	}
	if _, err := s.Domains.Place(t.Context(), place); err != nil {
		t.Fatal(err)
	}
}

// domain is what is told of limitedDomain.
func (s *Subject) domain(t *testing.T) index.DomainQuota {
	t.Helper()
	list, err := s.Domains.DomainQuotas(t.Context())
	if err != nil || len(list) != 1 || list[0].Domain != limitedDomain {
		t.Fatalf("DomainQuotas: %+v, %v", list, err)
	}
	return list[0]
}

func (s *Subject) full(t *testing.T, what string, account mailbox.AccountID, size int64) {
	t.Helper()
	if _, err := s.Mailboxes.Append(t.Context(), account, "INBOX", []index.Message{newMessage(size)}); !errors.Is(err, index.ErrOverQuota) {
		t.Errorf("%s: got %v, want ErrOverQuota", what, err)
	}
}

// domainQuota: the sum over accounts bounds each way in, and each way out makes room.
func domainQuota(t *testing.T, s Subject) {
	ctx := t.Context()
	if any, err := s.Domains.Limited(ctx); err != nil || any {
		t.Errorf("no limits: %v, %v", any, err)
	}
	s.append(t, 7, "INBOX", newMessage(1000))
	s.limit(t, index.Limits{Size: 5000, Messages: 6}, index.Limits{Messages: 4}, 7, 8)
	s.append(t, 8, "INBOX", newMessage(3000))
	s.append(t, 9, "INBOX", newMessage(9000)) // of no domain
	if q := s.domain(t); q.Size != 4000 || q.Messages != 2 || q.Accounts != 2 || q.Limits != (index.Limits{Size: 5000, Messages: 6}) || q.Each.Messages != 4 {
		t.Errorf("%+v", q)
	}
	s.full(t, "more octets than the domain has", 7, 1500)
	if r := s.deliver(t, s.newDelivery(t, 8)); r[0].Status != index.Delivered {
		t.Errorf("delivered: %+v", r[0])
	}
	big := s.newDelivery(t, 7)
	big.Message.Size = 2000
	small := s.newDelivery(t, 9)
	if r := s.deliver(t, big, small); r[0].Status != index.OverQuota || r[1].Status != index.Delivered {
		t.Errorf("delivered to a full domain, and to another: %+v", r)
	}
	inbox := s.find(t, 8, "INBOX")
	if _, err := s.Mailboxes.Copy(ctx, 8, inbox.ID, all, "Sent"); !errors.Is(err, index.ErrOverQuota) {
		t.Errorf("copied: %v, want ErrOverQuota", err)
	}
	if _, err := s.Mailboxes.Move(ctx, 8, inbox.ID, all, "Sent"); err != nil {
		t.Errorf("moved: %v", err)
	}
	over, err := s.Imports.Import(ctx, index.Import{Account: 7, Name: "INBOX", Messages: []index.ImportMessage{{Key: index.ImportKey{1}, Message: newMessage(4000)}}})
	if !errors.Is(err, index.ErrOverQuota) && !over.Over {
		t.Errorf("imported: %+v, %v", over, err)
	}
	// What goes makes room at once, for all accounts of the domain.
	sent := s.find(t, 8, "Sent")
	if _, err := s.Mailboxes.Expunge(ctx, 8, sent.ID, mailbox.UIDSet{{First: 1, Last: 1}}, true); err != nil {
		t.Fatal(err)
	}
	s.append(t, 7, "INBOX", newMessage(1500))
	// The domain's limit for each account.
	roots, err := s.Quotas.Quota(ctx, 7, "")
	if err != nil || roots[0].Limits.Messages != 4 || roots[0].Own.Messages != 0 {
		t.Errorf("limits of an account: %+v, %v", roots, err)
	}
	if list, err := s.Quotas.AccountQuotasOf(ctx, []mailbox.AccountID{7, 9}); err != nil || len(list) != 2 ||
		list[0].Limits.Messages != 4 || list[0].Domain != limitedDomain || list[1].Limits.Messages != s.QuotaMessages || list[1].Domain != "" {
		t.Errorf("AccountQuotasOf: %+v, %v", list, err)
	}
	s.append(t, 7, "INBOX", newMessage(10), newMessage(10))
	s.full(t, "more messages than an account has", 7, 10)
	if err := s.Quotas.SetQuota(ctx, 7, "", index.Limits{Messages: 100}); err != nil {
		t.Fatal(err)
	}
	s.append(t, 7, "INBOX", newMessage(10))
	s.full(t, "more messages than the domain has", 7, 10)
	s.full(t, "by another account of it", 8, 10)
	if sums, err := s.Domains.DomainSums(ctx, []string{limitedDomain, "other.example", limitedDomain}); err != nil || len(sums) != 1 || sums[0].Messages != 6 {
		t.Errorf("DomainSums: %+v, %v", sums, err)
	}
	// Without limits there are none.
	s.limit(t, index.Limits{}, index.Limits{})
	if list, err := s.Domains.DomainQuotas(ctx); err != nil || len(list) > 0 {
		t.Errorf("without limits: %+v, %v", list, err)
	}
	s.append(t, 8, "INBOX", newMessage(9000))
}

// domainPlaces: an account counts where it was placed last.
func domainPlaces(t *testing.T, s Subject) {
	ctx := t.Context()
	s.append(t, 7, "INBOX", newMessage(900))
	s.limit(t, index.Limits{Size: 1000}, index.Limits{}, 7, 8)
	s.full(t, "in a full domain", 8, 500)
	place := func(domain string, want int) {
		t.Helper()
		if n, err := s.Domains.Place(ctx, map[mailbox.AccountID]string{7: domain}); err != nil || n != want {
			t.Errorf("placed in %q: %d, %v, want %d", domain, n, err, want)
		}
	}
	place(limitedDomain, 0)
	place("", 1)
	s.append(t, 8, "INBOX", newMessage(500))
	s.append(t, 7, "INBOX", newMessage(500))
	place(limitedDomain, 1)
	if q := s.domain(t); q.Size != 1900 {
		t.Errorf("%+v", q)
	}
	s.full(t, "over its limit already", 7, 1)
}

func domainTold(t *testing.T, s Subject) {
	ctx := t.Context()
	s.limit(t, index.Limits{Messages: 10}, index.Limits{}, 7)
	q := s.domain(t)
	lost := errors.New("lost")
	s.FailAt(func(step string) error {
		if step == "append.before-commit" {
			return lost
		}
		return nil
	})
	if _, _, err := s.Domains.TellDomain(ctx, q, 80, 8, newMessage(100)); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
	s.FailAt(func(string) error { return nil })
	if got := s.domain(t); got.Level != 0 {
		t.Errorf("told, though it failed: %+v", got)
	}
	r, told, err := s.Domains.TellDomain(ctx, q, 80, 8, newMessage(100))
	if err != nil || !told || r.Mailbox != s.find(t, 8, "INBOX").ID || len(r.UIDs) != 1 {
		t.Fatalf("%+v, %v, %v", r, told, err)
	}
	if _, told, err := s.Domains.TellDomain(ctx, q, 80, 8, newMessage(100)); err != nil || told {
		t.Errorf("told again: %v, %v", told, err)
	}
	if q = s.domain(t); q.Level != 80 {
		t.Errorf("%+v", q)
	}
	if _, told, err := s.Domains.TellDomain(ctx, q, 0, 0, index.Message{}); err != nil || !told || s.domain(t).Level != 0 {
		t.Errorf("nobody to tell: %v, %v", told, err)
	}
	if n := s.find(t, 8, "INBOX").Messages; n != 1 {
		t.Errorf("%d letters", n)
	}
}

// domainAtOnce has many accounts fill a domain at once: what fits is taken, to the last message, and nothing more.
func domainAtOnce(t *testing.T, s Subject) {
	const accounts, each, room = 8, 20, 100
	var ids []mailbox.AccountID
	for i := range accounts {
		ids = append(ids, mailbox.AccountID(100+i))
	}
	s.limit(t, index.Limits{Messages: room}, index.Limits{}, ids...)
	var taken atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, accounts*each)
	for _, id := range ids {
		wg.Go(func() {
			for range each {
				switch _, err := s.Mailboxes.Append(t.Context(), id, "INBOX", []index.Message{newMessage(100)}); {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, index.ErrOverQuota):
					errs <- fmt.Errorf("account %d: %w", id, err)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if q := s.domain(t); q.Messages != taken.Load() || q.Messages > room {
		t.Errorf("%d messages of %d, and %d were taken", q.Messages, room, taken.Load())
	}
	// What was refused while others were on their way fits alone, if there is room left.
	for taken.Load() < room {
		s.append(t, 100, "INBOX", newMessage(100))
		taken.Add(1)
	}
	s.full(t, "one more", 101, 100)
}
