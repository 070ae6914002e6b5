package store_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func TestCodes(t *testing.T) {
	r := start(t, store.Config{})
	ctx := t.Context()
	inbox := r.list(t, 7)["INBOX"].GetId()
	long := strings.Repeat("x", store.MaxLevel)
	create := func(name, use string) error {
		_, err := r.Create(ctx, &storev1.CreateRequest{Account: 7, Name: name, SpecialUse: use})
		return err
	}
	rename := func(from, to string) error {
		_, err := r.Rename(ctx, &storev1.RenameRequest{Account: 7, From: from, To: to})
		return err
	}
	flag := func(change func(*storev1.FlagRequest)) error {
		req := &storev1.FlagRequest{Account: 7, Mailbox: inbox, Uids: []byte{1, 0}, Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Seen`}}
		change(req)
		_, err := r.Flag(ctx, req)
		return err
	}
	snapshot := func(account, box uint64) error {
		stream, err := r.Snapshot(ctx, &storev1.SnapshotRequest{Account: account, Mailbox: box})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	many := func(n int) []uint64 { return make([]uint64, n) }
	for _, tt := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"longest level", create(long, ""), codes.OK},
		{"level too long", create(long+"x", ""), codes.InvalidArgument},
		{"name far too long", create(strings.Repeat("x", 6000), ""), codes.InvalidArgument},
		{"deepest", create(strings.Repeat("d/", 19)+"d", ""), codes.OK},
		{"too deep", create(strings.Repeat("d/", 20)+"d", ""), codes.InvalidArgument},
		{"empty name", create("", ""), codes.InvalidArgument},
		{"slash alone", create("/", ""), codes.InvalidArgument},
		{"slash at the end", create("a/", ""), codes.InvalidArgument},
		{"slash at the begin", create("/a", ""), codes.InvalidArgument},
		{"NUL", create("a\x00", ""), codes.InvalidArgument},
		{"line end", create("a\r\nb", ""), codes.InvalidArgument},
		{"DEL", create("a\x7f", ""), codes.InvalidArgument},
		{"C1 control", create("a\u0085", ""), codes.InvalidArgument},
		{"line separator", create("a\u2028", ""), codes.InvalidArgument},
		{"decomposed", create("U\u0308bung", ""), codes.OK},
		{"composed, the same", create("\u00dcbung", ""), codes.AlreadyExists},
		{"inbox in another case", create("iNbOx", ""), codes.AlreadyExists},
		{"below inbox in another case", create("Inbox/a", ""), codes.OK},
		{"below INBOX, the same", create("INBOX/a", ""), codes.AlreadyExists},
		{"special use taken", create("Spam", `\junk`), codes.AlreadyExists},
		{"special use unknown", create("x", `\Pigs`), codes.InvalidArgument},
		{"special use that is a view", create("x", `\All`), codes.InvalidArgument},
		{"rename of nothing", rename("nowhere", "x"), codes.NotFound},
		{"rename to what is there", rename("Sent", "Trash"), codes.AlreadyExists},
		{"rename below itself", rename("Sent", "Sent/x"), codes.FailedPrecondition},
		{"rename to a bad name", rename("Sent", "a//b"), codes.InvalidArgument},
		{"delete INBOX", func() error { _, err := r.Delete(ctx, &storev1.DeleteRequest{Account: 7, Name: "inbox"}); return err }(), codes.FailedPrecondition},
		{"delete nothing", func() error { _, err := r.Delete(ctx, &storev1.DeleteRequest{Account: 7, Name: "nowhere"}); return err }(), codes.NotFound},
		{"account 0", func() error { _, err := r.List(ctx, &storev1.ListRequest{}); return err }(), codes.InvalidArgument},
		{"account too great", func() error { _, err := r.List(ctx, &storev1.ListRequest{Account: 1 << 63}); return err }(), codes.InvalidArgument},
		{"no mode", flag(func(f *storev1.FlagRequest) { f.Mode = 0 }), codes.InvalidArgument},
		{"unknown mode", flag(func(f *storev1.FlagRequest) { f.Mode = 9 }), codes.InvalidArgument},
		{"no set", flag(func(f *storev1.FlagRequest) { f.Uids = []byte{0, 0} }), codes.InvalidArgument},
		{"set too long", flag(func(f *storev1.FlagRequest) { f.Uids = bytes.Repeat([]byte{2, 0}, store.MaxUIDSet) }), codes.InvalidArgument},
		{"\\Recent", flag(func(f *storev1.FlagRequest) { f.Flags = []string{`\Recent`} }), codes.InvalidArgument},
		{"flag too long", flag(func(f *storev1.FlagRequest) { f.Flags = []string{strings.Repeat("k", store.MaxKeyword+1)} }), codes.InvalidArgument},
		{"flag with a blank", flag(func(f *storev1.FlagRequest) { f.Flags = []string{"a b"} }), codes.InvalidArgument},
		{"flag not ASCII", flag(func(f *storev1.FlagRequest) { f.Flags = []string{"\u00fc"} }), codes.InvalidArgument},
		{"many flags", flag(func(f *storev1.FlagRequest) { f.Flags = make([]string, store.MaxFlags+1) }), codes.InvalidArgument},
		{"mailbox 0", flag(func(f *storev1.FlagRequest) { f.Mailbox = 0 }), codes.NotFound},
		{"unknown mailbox", flag(func(f *storev1.FlagRequest) { f.Mailbox = 5 }), codes.NotFound},
		{"another's mailbox", flag(func(f *storev1.FlagRequest) { f.Account = 8 }), codes.NotFound},
		{"snapshot of nothing", snapshot(7, 5), codes.NotFound},
		{"copy to nowhere", func() error {
			_, err := r.Copy(ctx, &storev1.CopyRequest{Account: 7, Mailbox: inbox, Uids: []byte{1, 0}, Target: "nowhere"})
			return err
		}(), codes.NotFound},
		{"many counters", func() error {
			_, err := r.Counters(ctx, &storev1.CountersRequest{Accounts: many(store.MaxCounters + 1)})
			return err
		}(), codes.InvalidArgument},
		{"many emails", func() error {
			stream, err := r.Emails(ctx, &storev1.EmailsRequest{Account: 7, Emails: many(store.MaxEmails + 1)})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}(), codes.InvalidArgument},
		{"many deliveries", func() error {
			_, err := r.Deliver(ctx, &storev1.DeliverRequest{Deliveries: make([]*storev1.Delivery, store.MaxDeliveries+1)})
			return err
		}(), codes.InvalidArgument},
		{"many ranges", func() error {
			_, err := r.read(ctx, make([]*storev1.BodyRange, store.MaxRanges+1)...)
			return err
		}(), codes.InvalidArgument},
	} {
		wantCode(t, tt.name, tt.err, tt.want)
	}
}
