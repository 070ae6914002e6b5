package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

const (
	// noticeEvery is how often it is looked for owners to be told of their quota, and noticeBatch for how many at once.
	noticeEvery = 5 * time.Second
	noticeBatch = 64
)

// QuotaDeps is what telling owners of their quota needs.
type QuotaDeps struct {
	Leases index.Leases
	Log    *slog.Logger
	// Hostname is what messages come from.
	Hostname string
	// Holder names this process in leases, unlike any other.
	Holder string
	// Lease is how long a process that died keeps the others from the work. Default 15s.
	Lease time.Duration
	// Resolve finds the postmasters of domains, who are told of their quota; nil: nobody is.
	Resolve Resolver
}

// Resolver is the part of directoryv1.DirectoryClient that finds postmasters.
type Resolver interface {
	Resolve(ctx context.Context, in *directoryv1.ResolveRequest, opts ...grpc.CallOption) (*directoryv1.ResolveResponse, error)
}

// AddQuotaNotices adds the worker that tells owners by a message in INBOX that they have passed a level of their quota, or are
// below it again. It is called before Run.
//
// The level is noted in the transaction that passes it, and the message is filed in the one that removes the note: each
// passing is told once, whatever dies between.
func (s *Service) AddQuotaNotices(deps QuotaDeps) error {
	if deps.Holder == "" {
		return errors.New("configure store: no name for leases")
	}
	if deps.Lease == 0 {
		deps.Lease = 15 * time.Second
	}
	part := &ledgerPart{cfg: LedgerConfig{Lease: deps.Lease}, deps: LedgerDeps{Leases: deps.Leases, Holder: deps.Holder, Log: deps.Log}}
	n := &notifier{Service: s, hostname: deps.Hostname, resolve: deps.Resolve}
	tasks := []*task{part.task("quota", noticeEvery, n.step)}
	if s.deps.Domains != nil && s.deps.Directory != nil {
		tasks = append(tasks, part.task("domains", placeEvery, n.placeWork), part.task("domain-quota", domainsEvery, n.tellDomains))
	}
	s.workers = append(s.workers, func(ctx context.Context) error {
		var wg sync.WaitGroup
		for _, t := range tasks {
			wg.Go(func() { t.run(ctx) })
		}
		wg.Wait()
		return nil
	})
	return nil
}

// notifier tells owners of their quota.
type notifier struct {
	*Service
	hostname string
	resolve  Resolver
}

func (n *notifier) step(ctx context.Context) (more bool, err error) {
	var failed failures
	for {
		// Those that failed still come first.
		limit, tried := noticeBatch+len(failed.accounts), false
		list, err := n.deps.Quotas.QuotaNotices(ctx, limit)
		if err != nil {
			return false, failed.with(err)
		}
		for i := range list {
			a := list[i].Account
			if failed.accounts[a] {
				continue
			}
			tried = true
			if err := n.tell(ctx, list[i]); err != nil && !failed.passOver(ctx, a, err) {
				return false, failed.with(nil)
			}
		}
		switch err := failed.with(nil); {
		case err == nil:
			return len(list) == limit, nil
		case !tried || len(list) < limit:
			return false, err
		}
	}
}

func (n *notifier) tell(ctx context.Context, q index.QuotaNotice) error {
	m, err := n.storeBody(ctx, n.letter(&q))
	if err != nil {
		return fmt.Errorf("quota of account %d: %w", q.Account, err)
	}
	fault.Point("store.quota-before-told")
	r, told, err := n.deps.Quotas.TellQuota(ctx, q, m)
	if err != nil || !told {
		return err
	}
	n.changed(q.Account, r.ModSeq, r.Mailbox)
	n.deps.Log.InfoContext(ctx, "told of quota", obs.Account(q.Account), slog.Int("level", q.Level), slog.Int("previous", q.Previous))
	return nil
}

// letter is what the owner reads (RFC 5322; RFC 3834 §5 for Auto-Submitted).
func (n *notifier) letter(q *index.QuotaNotice) []byte {
	subject := fmt.Sprintf("Your mailbox is %d %% full", q.Level)
	text := "You have used more than " + fmt.Sprint(q.Level) + " % of the room of your mailbox.\r\n" +
		"When it is full, new mail is refused. Delete what you do not need, and empty the trash.\r\n"
	if q.Level < q.Previous {
		subject = fmt.Sprintf("Your mailbox is below %d %% again", q.Previous)
		text = fmt.Sprintf("Your mailbox is below %d %% of its room again.\r\n", q.Previous)
	}
	return n.notice(subject, text, fmt.Sprintf("%d.%d.%d", q.Account, q.Level, q.At.UnixNano()), &q.QuotaRoot)
}

// notice is a message about what is used of limits; id is what no other has.
func (n *notifier) notice(subject, text, id string, q *index.QuotaRoot) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: Mail system <postmaster@%s>\r\nTo: undisclosed-recipients:;\r\nSubject: %s\r\nDate: %s\r\n",
		n.hostname, mime.QEncoding.Encode("utf-8", subject), n.deps.Now().Format(time.RFC1123Z))
	fmt.Fprintf(&b, "Message-ID: <quota.%s@%s>\r\nAuto-Submitted: auto-generated\r\n", id, n.hostname)
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text + "\r\n")
	if q.Limits.Size > 0 {
		fmt.Fprintf(&b, "Room:     %d of %d KiB\r\n", (q.Size+1023)/1024, (q.Limits.Size+1023)/1024)
	}
	if q.Limits.Messages > 0 {
		fmt.Fprintf(&b, "Messages: %d of %d\r\n", q.Messages, q.Limits.Messages)
	}
	return []byte(b.String())
}

// storeBody makes a message that this role writes durable.
func (s *Service) storeBody(ctx context.Context, body []byte) (m index.Message, err error) {
	var indexer message.Indexer
	indexer.Write(body) // never fails
	ix, err := indexer.Finish()
	if err != nil {
		return m, fmt.Errorf("index body: %w", err)
	}
	m = index.Message{Size: int64(len(body)), Received: s.deps.Now(), PartIndex: ix.Encode(nil)}
	tail, err := proto.Marshal(&mailv1.FrameTail{
		Envelope: &mailv1.Envelope{
			Kind: mailv1.Kind_KIND_APPENDED, Size: m.Size, AcceptedNs: m.Received.UnixNano(), MessageId: ix.MessageID(), Subject: ix.Subject(),
		},
		PartIndex: m.PartIndex,
	})
	if err != nil {
		return m, fmt.Errorf("encode tail: %w", err)
	}
	draft, err := s.deps.Blobs.Create(blob.ID{})
	if err != nil {
		return m, fmt.Errorf("begin body: %w", err)
	}
	defer draft.Discard()
	if _, err := draft.Write(body); err != nil {
		return m, fmt.Errorf("write body: %w", err)
	}
	if m.Blob, err = draft.Commit(ctx, blob.Meta{Kind: blob.Appended, Tail: tail}); err != nil {
		return m, fmt.Errorf("store body: %w", err)
	}
	return m, nil
}
