package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index/whole"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// What an account that lives is under is for those who run the farm to say: since the backup they may have lifted a hold or changed a rule, and
// a restore that brings mail back must not undo that unseen. So it stays as it is, and where the backup has it in another way that
// is told, with the command to have it again.

// rule is a row of what an account is under: a legal hold, a rule of retention, a rule of expiry.
type rule struct {
	t *whole.Table
	v values
}

// learnRule notes what the account was under.
func (m *merger) learnRule(fields map[string]json.RawMessage) error {
	t := whole.Find(stringOf(fields, "table"))
	line, err := row(t, 0, fields, nil)
	if err != nil {
		return err
	}
	v, err := valuesOf(&storev1.BackupTable{Name: t.Name, Columns: t.Names()}, line)
	m.rules = append(m.rules, rule{t, v})
	return err
}

// tellRules tells where the account is not under what it was under.
func (m *merger) tellRules(ctx context.Context, address string) error {
	if len(m.rules) == 0 || m.Retention == nil {
		return nil
	}
	have, held, err := m.rulesHere(ctx)
	if err != nil {
		return fmt.Errorf("look which rules account %d has: %w", m.account, err)
	}
	address = cmp.Or(address, fmt.Sprintf("account %d", m.account))
	for _, r := range m.rules {
		if r.t.Name == "legal_hold" {
			if !held {
				m.conflict("%s is under no legal hold here, and was when the backup was made (%q): mailfarm hold set puts it under one again", address, r.v.text("reason"))
			}
			continue
		}
		name := ruleName(r.t, r.v, address)
		is, there := have[rowKey(r.t, r.v)]
		if !there {
			m.conflict("%s: there is none here, and one in the backup: %s", name, again(r.t))
		} else if d := differences(r.t, is, r.v); len(d) > 0 {
			m.conflict("%s: stays as it is here: %s", name, strings.Join(d, "; "))
		}
	}
	return nil
}

// again is the command that sets a rule of a table.
func again(t *whole.Table) string {
	if t.Name == "retention_rule" {
		return "mailfarm retention set"
	}
	return "mailfarm expire set"
}

// rulesHere are those that the account has, by rowKey, and whether it is held.
func (m *merger) rulesHere(ctx context.Context) (have map[string]values, held bool, err error) {
	holds, err := m.Retention.ListHolds(ctx, &storev1.ListHoldsRequest{Account: m.account})
	if err != nil {
		return nil, false, err
	}
	keep, err := m.Retention.ListRetention(ctx, &storev1.ListRetentionRequest{})
	if err != nil {
		return nil, false, err
	}
	expire, err := m.Retention.ListExpireRules(ctx, &storev1.ListExpireRulesRequest{})
	if err != nil {
		return nil, false, err
	}
	have = map[string]values{}
	for _, r := range keep.GetRules() {
		if r.GetAccount() == m.account {
			v := values{"domain": "", "folder": r.GetFolder(), "keep_ns": r.GetKeepNs()}
			have[rowKey(whole.Find("retention_rule"), v)] = v
		}
	}
	for _, r := range expire.GetRules() {
		if r.GetAccount() == m.account && r.GetNumber() == 0 {
			v := values{"domain": "", "folder": r.GetFolder(), "name": r.GetName(), "older_ns": r.GetOlderThanNs(), "received": number01(r.GetReceived()),
				"larger": r.GetLargerThan(), "flag": r.GetFlag(), "no_flag": r.GetNoFlag(), "keep": int64(r.GetKeep()), "never": number01(r.GetNever())}
			have[rowKey(whole.Find("expire_rule"), v)] = v
		}
	}
	return have, len(holds.GetHolds()) > 0, nil
}

// number01 is a truth as databases have it.
func number01(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
