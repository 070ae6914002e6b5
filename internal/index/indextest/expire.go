package indextest

import (
	"reflect"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
)

// expireRules: rules come back as they were set, one of each key.
func expireRules(t *testing.T, s RetentionSubject) {
	ctx := t.Context()
	key := func(name string) index.ExpireKey { return index.ExpireKey{Account: 7, Folder: `\Trash`, Name: name} }
	rules := []index.ExpireRule{
		{ExpireKey: index.ExpireKey{Folder: "*"}, OlderThan: 90 * 24 * time.Hour, Received: true},
		{ExpireKey: index.ExpireKey{Domain: "example.org", Folder: "Logs"}, Keep: 12},
		{ExpireKey: key(""), Never: true},
		{ExpireKey: key("large"), LargerThan: 1 << 40, Flag: `\Seen`, NoFlag: "$Keep"},
	}
	for i := range rules {
		if err := s.Retention.SetExpireRule(ctx, index.ExpireRule{ExpireKey: rules[i].ExpireKey, Keep: 1}); err != nil {
			t.Fatal(err)
		}
		if err := s.Retention.SetExpireRule(ctx, rules[i]); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Retention.ExpireRules(ctx); err != nil || !reflect.DeepEqual(got, rules) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, rules)
	}
	for _, want := range []bool{true, false} {
		if found, err := s.Retention.DropExpireRule(ctx, key("large")); err != nil || found != want {
			t.Errorf("removed: %v, %v, want %v", found, err, want)
		}
	}
	if got, err := s.Retention.ExpireRules(ctx); err != nil || !reflect.DeepEqual(got, rules[:3]) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, rules[:3])
	}
}
