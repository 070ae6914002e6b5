package store_test

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// TestExpirePassesOver has an account fail that comes before another.
func TestExpirePassesOver(t *testing.T) {
	r := start(t, store.Config{Expire: []store.ExpireRule{{Folder: "INBOX", LargerThan: 100}}})
	for account := uint64(1); account <= 2; account++ {
		b := body(500)
		if _, err := r.append(t.Context(), startPart(account, "INBOX", len(b)), dataPart(b), endPart); err != nil {
			t.Fatal(err)
		}
	}
	r.spoil(t, "UPDATE chunk SET uids = x'ff' WHERE account = 1")
	stream, err := r.retention.Expire(t.Context(), &storev1.ExpireRequest{})
	var done []uint64
	for err == nil {
		var resp *storev1.ExpireResponse
		if resp, err = stream.Recv(); err == nil {
			done = append(done, resp.GetAccount())
		}
	}
	if err == io.EOF || len(done) != 1 || done[0] != 2 {
		t.Errorf("expired accounts %v, %v; want 2, and what failed of 1", done, err)
	}
	if n := r.list(t, 2)["INBOX"].GetMessages(); n != 0 {
		t.Errorf("account 2 has %d messages", n)
	}
}

// expire applies rules, and tells by account, folder and name how many messages went.
func (r *role) expire(t *testing.T, req *storev1.ExpireRequest) map[string]uint64 {
	t.Helper()
	stream, err := r.retention.Expire(t.Context(), req)
	done := map[string]uint64{}
	for err == nil {
		var resp *storev1.ExpireResponse
		if resp, err = stream.Recv(); err == nil {
			done[fmt.Sprintf("%d %s %s", resp.GetAccount(), resp.GetFolder(), resp.GetBy().GetName())] += resp.GetMessages()
		}
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return done
}

// TestExpireRules sets rules of every kind: the most special ones count, by what they ask.
func TestExpireRules(t *testing.T) {
	ctx := t.Context()
	r := start(t, store.Config{Expire: []store.ExpireRule{{Folder: "INBOX", LargerThan: 100}}})
	put := func(account uint64, folder string, size int, flags ...string) {
		t.Helper()
		b := body(size)
		if _, err := r.append(ctx, startPart(account, folder, len(b), flags...), dataPart(b), endPart); err != nil {
			t.Fatal(err)
		}
	}
	for account := uint64(1); account <= 3; account++ {
		put(account, "INBOX", 500)
		put(account, "Trash", 500, `\Seen`)
		put(account, "Trash", 5000)
		put(account, "Trash", 5000, `\Flagged`)
	}
	set := func(rule *storev1.ExpireRule) error {
		_, err := r.retention.SetExpireRule(ctx, &storev1.SetExpireRuleRequest{Rule: rule})
		return err
	}
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, got map[string]uint64, want map[string]uint64) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	for what, rule := range map[string]*storev1.ExpireRule{
		"no folder":             {LargerThan: 1},
		"nothing asked":         {Folder: "INBOX"},
		"an age below 0":        {Folder: "INBOX", OlderThanNs: -1},
		"no flag":               {Folder: "INBOX", Flag: "a b"},
		"never, and something":  {Folder: "INBOX", Never: true, Keep: 1},
		"an account and domain": {Account: 1, Domain: "example.org", Folder: "INBOX", Keep: 1},
		"a long name":           {Folder: "INBOX", Keep: 1, Name: strings.Repeat("a", 65)},
		"no special use":        {Folder: `\Nothing`, Keep: 1},
	} {
		wantCode(t, what, set(rule), codes.InvalidArgument)
	}
	_, err := r.retention.Expire(ctx, &storev1.ExpireRequest{Trial: &storev1.ExpireRule{Folder: "*", Keep: 1}})
	if err == nil {
		stream, _ := r.retention.Expire(ctx, &storev1.ExpireRequest{Trial: &storev1.ExpireRule{Folder: "*", Keep: 1}})
		_, err = stream.Recv()
	}
	wantCode(t, "a trial that is no dry run", err, codes.InvalidArgument)

	large := &storev1.ExpireRule{Folder: `\Trash`, Name: "large", LargerThan: 1000, NoFlag: `\Flagged`}
	want("on trial", r.expire(t, &storev1.ExpireRequest{DryRun: true, Trial: large}), map[string]uint64{"1 Trash large": 1, "2 Trash large": 1, "3 Trash large": 1})
	want("as it is", r.expire(t, &storev1.ExpireRequest{DryRun: true}), map[string]uint64{"1 INBOX ": 1, "2 INBOX ": 1, "3 INBOX ": 1})
	fine(set(large))
	fine(set(&storev1.ExpireRule{Account: 2, Folder: "*", Never: true}))
	fine(set(&storev1.ExpireRule{Account: 3, Folder: "Trash", Name: "seen", Flag: `\Seen`}))
	fine(set(&storev1.ExpireRule{Account: 3, Folder: `\Trash`, Name: "there", OlderThanNs: int64(time.Hour)}))
	all := map[string]uint64{"1 INBOX ": 1, "1 Trash large": 1, "3 INBOX ": 1, "3 Trash seen": 1}
	want("set", r.expire(t, &storev1.ExpireRequest{DryRun: true}), all)
	list, err := r.retention.ListExpireRules(ctx, &storev1.ListExpireRulesRequest{})
	if err != nil || len(list.GetRules()) != 5 || list.GetRules()[0].GetNumber() != 1 || !proto.Equal(list.GetRules()[1], large) {
		t.Errorf("ListExpireRules: %v, %v", list, err)
	}
	want("applied", r.expire(t, &storev1.ExpireRequest{}), all)
	want("again", r.expire(t, &storev1.ExpireRequest{}), map[string]uint64{})
	for account, n := range map[uint64]uint32{1: 2, 2: 3, 3: 2} {
		if got := r.list(t, account)["Trash"].GetMessages(); got != n {
			t.Errorf("account %d has %d messages in Trash, want %d", account, got, n)
		}
	}
	// Without the rule of the account the one for all counts again.
	for _, name := range []string{"seen", "there"} {
		folder := map[string]string{"seen": "Trash", "there": `\trash`}[name]
		if _, err := r.retention.RemoveExpireRule(ctx, &storev1.RemoveExpireRuleRequest{Rule: &storev1.ExpireRule{Account: 3, Folder: folder, Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.retention.RemoveExpireRule(ctx, &storev1.RemoveExpireRuleRequest{Rule: &storev1.ExpireRule{Account: 3, Folder: "Trash", Name: "seen"}})
	wantCode(t, "removed again", err, codes.NotFound)
	want("for all again", r.expire(t, &storev1.ExpireRequest{Account: 3}), map[string]uint64{"3 Trash large": 1})
	// Of a domain there is nobody to ask here, and so nothing goes that it may spare.
	wantCode(t, "of a domain", set(&storev1.ExpireRule{Domain: "example.org", Folder: "*", Keep: 1}), codes.FailedPrecondition)
}

// TestExpireBySaveDate: what came into its folder long ago goes at once by a rule that is new, where that is known.
func TestExpireBySaveDate(t *testing.T) {
	ctx := t.Context()
	past := time.Now().Add(-48 * time.Hour)
	var now atomic.Int64
	now.Store(past.UnixNano())
	r := startWith(t, store.Config{}, sqlite.Options{Now: func() time.Time { return time.Unix(0, now.Load()) }})
	put := func() {
		t.Helper()
		b := body(500)
		if _, err := r.append(ctx, startPart(1, "INBOX", len(b)), dataPart(b), endPart); err != nil {
			t.Fatal(err)
		}
	}
	put()
	now.Store(time.Now().UnixNano())
	put() // of the same INTERNALDATE, which is older than both
	rule := &storev1.ExpireRule{Folder: "INBOX", OlderThanNs: int64(24 * time.Hour)}
	if _, err := r.retention.SetExpireRule(ctx, &storev1.SetExpireRuleRequest{Rule: rule}); err != nil {
		t.Fatal(err)
	}
	if got := r.expire(t, &storev1.ExpireRequest{}); got["1 INBOX "] != 1 || r.list(t, 1)["INBOX"].GetMessages() != 1 {
		t.Errorf("expired %v", got)
	}
}
