package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ExpireRule empties a folder of what is old. A message goes when all that the rule asks holds of it.
type ExpireRule struct {
	// Folder is a name, a special use ("\Trash") or "*", all folders.
	Folder string `yaml:"folder"`
	// OlderThan is an age: of the message in this folder, or with Received by its INTERNALDATE.
	OlderThan time.Duration `yaml:"older_than"`
	Received  bool          `yaml:"received"`
	// LargerThan is a size, octets.
	LargerThan int64 `yaml:"larger_than"`
	// Flag must be set, and NoFlag must not.
	Flag   string `yaml:"flag"`
	NoFlag string `yaml:"no_flag"`
	// Keep are so many of the latest messages of the folder, which stay in any case.
	Keep int `yaml:"keep"`
}

func (r *ExpireRule) check() error {
	var errs []error
	if folder, err := ruleFolder(r.Folder); r.Folder != index.EveryFolder && (err != nil || folder == "") {
		errs = append(errs, fmt.Errorf("folder: %q is none", r.Folder))
	}
	for _, flag := range []string{r.Flag, r.NoFlag} {
		if flag != "" && !isFlag(flag) {
			errs = append(errs, fmt.Errorf("%q is no flag", flag))
		}
	}
	if r.OlderThan < 0 || r.LargerThan < 0 || r.Keep < 0 {
		errs = append(errs, errors.New("older_than, larger_than and keep must not be negative"))
	}
	if r.OlderThan == 0 && r.LargerThan == 0 && r.Flag == "" && r.Keep == 0 {
		errs = append(errs, errors.New("it asks for nothing: say older_than, larger_than, flag or keep"))
	}
	return errors.Join(errs...)
}

const (
	// expireBatch is how many messages one write takes out, and expireAccounts how many accounts are read in one go.
	expireBatch    = 1000
	expireAccounts = 256
)

// expireAll applies the rules to all accounts.
func (r *retention) expireAll(ctx context.Context) (more bool, err error) {
	rules, err := r.allExpireRules(ctx)
	if err != nil {
		return false, err
	}
	return false, r.expire(ctx, rules, 0, false, func(e *storev1.ExpireResponse) error {
		r.deps.Log.InfoContext(ctx, "folder expired", obs.Account(mailbox.AccountID(e.GetAccount())), slog.String("folder", e.GetFolder()),
			slog.Uint64("messages", e.GetMessages()))
		return nil
	})
}

// Expire applies the rules now, or with dry_run tells what would go.
func (r *retention) Expire(req *storev1.ExpireRequest, stream grpc.ServerStreamingServer[storev1.ExpireResponse]) error {
	if req.GetAccount() >= 1<<63 {
		return invalid("account %d is none", req.GetAccount())
	}
	rules, err := r.allExpireRules(stream.Context())
	if err != nil {
		return toStatus(err)
	}
	tell := stream.Send
	if req.GetTrial() != nil {
		if !req.GetDryRun() {
			return invalid("a rule on trial needs dry_run: set it to apply it")
		}
		trial, err := expireRule(req.GetTrial())
		if err != nil {
			return err
		}
		rules = append(slices.DeleteFunc(rules, func(have index.ExpireRule) bool { return have.Number == 0 && have.ExpireKey == trial.ExpireKey }), trial)
		tell = func(e *storev1.ExpireResponse) error {
			if by := e.GetBy(); by.GetNumber() > 0 || expireKey(by) != trial.ExpireKey {
				return nil
			}
			return stream.Send(e)
		}
	}
	return toStatus(r.expire(stream.Context(), rules, mailbox.AccountID(req.GetAccount()), req.GetDryRun(), tell))
}

func (r *retention) expire(ctx context.Context, rules []index.ExpireRule, only mailbox.AccountID, dry bool, tell func(*storev1.ExpireResponse) error) error {
	if len(rules) == 0 {
		return nil
	}
	if only != 0 {
		return r.expireAccount(ctx, rules, only, dry, tell)
	}
	var after mailbox.AccountID
	var failed failures
	for {
		accounts, err := r.Accounts(ctx, after, expireAccounts)
		if err != nil {
			return failed.with(err)
		}
		for _, a := range accounts {
			if err := r.expireAccount(ctx, rules, a, dry, tell); err != nil && !failed.passOver(ctx, a, err) {
				return failed.with(nil)
			}
			after = a
		}
		if len(accounts) < expireAccounts {
			return failed.with(nil)
		}
	}
}

func (r *retention) expireAccount(ctx context.Context, rules []index.ExpireRule, a mailbox.AccountID, dry bool, tell func(*storev1.ExpireResponse) error) error {
	domain := ""
	if slices.ContainsFunc(rules, func(rule index.ExpireRule) bool { return rule.Domain != "" }) {
		// Without the directory nothing of it goes: a rule of its domain may spare it.
		var err error
		if domain, err = r.domain(ctx, a); errors.Is(err, index.ErrNobody) {
			return nil
		} else if err != nil {
			return fmt.Errorf("expire account %d: %w", a, err)
		}
	}
	list, _, err := r.Service.deps.Mailboxes.List(ctx, a)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].ID == 0 || list[i].Messages == 0 {
			continue
		}
		for _, rule := range index.ExpireFor(rules, a, domain, list[i].Name, list[i].SpecialUse) {
			done := &storev1.ExpireResponse{Account: uint64(a), Folder: list[i].Name, Rule: uint32(rule.Number), By: fromExpireRule(rule)}
			err := r.expireFolder(ctx, a, &list[i], rule, dry, done)
			if errors.Is(err, index.ErrNoMailbox) {
				continue
			}
			if err == nil && done.Messages > 0 {
				err = tell(done)
			}
			if err != nil {
				return fmt.Errorf("expire %q of account %d: %w", list[i].Name, a, err)
			}
		}
	}
	return nil
}

// expireFolder takes out of a folder what a rule no longer keeps.
func (r *retention) expireFolder(ctx context.Context, a mailbox.AccountID, m *index.Mailbox, rule *index.ExpireRule, dry bool, done *storev1.ExpireResponse) error {
	below := mailbox.UID(mailbox.MaxUID) // what is not below it is told by SAVEDATE
	if rule.OlderThan > 0 && !rule.Received {
		// Marks tell since when a UID has been there: what is below one of that age is as old.
		var err error
		if below, err = r.Mark(ctx, a, m.ID, m.UIDNext, r.deps.Now().Add(-rule.OlderThan), !dry); err != nil {
			return err
		}
	}
	uids, octets, count, err := r.chooseExpired(ctx, a, m, rule, below)
	if err != nil {
		return err
	}
	done.Octets, done.Messages = octets, count
	if dry {
		return nil
	}
	for batch := range slices.Chunk(uids, expireBatch) {
		var set mailbox.UIDSet
		for _, uid := range batch {
			set = set.Add(uid)
		}
		res, err := r.Service.deps.Mailboxes.Expunge(ctx, a, m.ID, set, true)
		if err != nil {
			return err
		}
		if len(res.Expunged) > 0 {
			r.changed(a, res.ModSeq, m.ID)
		}
	}
	return nil
}

// chooseExpired finds the messages of a folder that a rule no longer keeps.
func (r *retention) chooseExpired(ctx context.Context, a mailbox.AccountID, m *index.Mailbox, rule *index.ExpireRule, below mailbox.UID) (uids []mailbox.UID, octets int64, count uint64, err error) {
	var flag, noFlag mailbox.Flags
	stay := int64(rule.Keep)
	seen := int64(0)
	old := r.deps.Now().Add(-rule.OlderThan).Unix()
	messages := int64(m.Messages)
	err = r.Service.deps.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: a, Mailbox: m.ID}, func(p *index.Page) error {
		if p.Mailbox != nil {
			messages = int64(p.Mailbox.Messages)
			var known bool
			if flag, known = mailbox.FindFlag(rule.Flag, p.Mailbox.Keywords); rule.Flag != "" && !known {
				stay = messages // nobody has it
			}
			if rule.NoFlag != "" {
				noFlag, _ = mailbox.FindFlag(rule.NoFlag, p.Mailbox.Keywords)
			}
		}
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			for j := range c.Len() {
				seen++
				e := c.At(j)
				switch {
				case seen > messages-stay, e.UID >= below && !savedBefore(e, old), rule.Received && rule.OlderThan > 0 && e.Received > old,
					e.Size <= rule.LargerThan && rule.LargerThan > 0, e.Flags&flag != flag, e.Flags&noFlag != 0:
					continue
				}
				uids, octets, count = append(uids, e.UID), octets+e.Size, count+1
			}
		}
		return nil
	})
	return uids, octets, count, err
}

// savedBefore tells that an entry certainly came into its folder at or before a time. One that seems to have been saved when it was
// received may be of before that was noted.
func savedBefore(e mailbox.Entry, at int64) bool { return e.Saved != e.Received && e.Saved <= at }

// allExpireRules are those of the configuration, and those that were set.
func (r *retention) allExpireRules(ctx context.Context) (rules []index.ExpireRule, err error) {
	for i := range r.cfg.Expire {
		rule := r.cfg.Expire[i].rule(index.ExpireKey{Folder: r.cfg.Expire[i].Folder})
		rule.Number = i + 1
		rules = append(rules, rule)
	}
	set, err := r.ExpireRules(ctx)
	return append(rules, set...), err
}

func (r *ExpireRule) rule(key index.ExpireKey) index.ExpireRule {
	return index.ExpireRule{ExpireKey: key, OlderThan: r.OlderThan, Received: r.Received, LargerThan: r.LargerThan, Flag: r.Flag, NoFlag: r.NoFlag, Keep: r.Keep}
}

// maxRuleName is the longest name of a rule, octets.
const maxRuleName = 64

func expireKey(r *storev1.ExpireRule) index.ExpireKey {
	return index.ExpireKey{Account: mailbox.AccountID(r.GetAccount()), Domain: r.GetDomain(), Folder: r.GetFolder(), Name: r.GetName()}
}

// expireRule reads the contract's form.
func expireRule(r *storev1.ExpireRule) (rule index.ExpireRule, err error) {
	key := expireKey(r)
	switch {
	case key.Account >= 1<<63 || key.Account != 0 && key.Domain != "":
		return rule, invalid("a rule is for an account, a domain or all")
	case len(key.Domain) > 255 || strings.ToLower(key.Domain) != key.Domain:
		return rule, invalid("%q is no domain", key.Domain)
	case len(key.Name) > maxRuleName:
		return rule, invalid("name of %d octets, more than %d", len(key.Name), maxRuleName)
	case r.GetKeep() > 1<<31-1:
		return rule, invalid("keep: %d messages are more than a folder can have", r.GetKeep())
	}
	if key.Folder != index.EveryFolder {
		if key.Folder, err = ruleFolder(key.Folder); err != nil {
			return rule, err
		}
		if key.Folder == "" {
			return rule, invalid("a rule needs a folder: a name, a special use, or * for all")
		}
	}
	asks := ExpireRule{Folder: key.Folder, OlderThan: time.Duration(r.GetOlderThanNs()), Received: r.GetReceived(), LargerThan: r.GetLargerThan(),
		Flag: r.GetFlag(), NoFlag: r.GetNoFlag(), Keep: int(r.GetKeep())}
	if r.GetNever() {
		if asks != (ExpireRule{Folder: key.Folder}) {
			return rule, invalid("a rule that spares a folder asks for nothing")
		}
	} else if err := asks.check(); err != nil {
		return rule, invalid("%v", err)
	}
	rule = asks.rule(key)
	rule.Never = r.GetNever()
	return rule, nil
}

func fromExpireRule(r *index.ExpireRule) *storev1.ExpireRule {
	return &storev1.ExpireRule{Account: uint64(r.Account), Domain: r.Domain, Folder: r.Folder, Name: r.Name, OlderThanNs: int64(r.OlderThan), Received: r.Received,
		LargerThan: r.LargerThan, Flag: r.Flag, NoFlag: r.NoFlag, Keep: uint32(r.Keep), Never: r.Never, Number: uint32(r.Number)}
}

// SetExpireRule sets a rule, which counts from the next look on.
func (r *retention) SetExpireRule(ctx context.Context, req *storev1.SetExpireRuleRequest) (*storev1.SetExpireRuleResponse, error) {
	rule, err := expireRule(req.GetRule())
	if err != nil {
		return nil, err
	}
	if rule.Domain != "" && r.deps.Removed == nil {
		return nil, status.Error(codes.FailedPrecondition, errNoDirectory.Error())
	}
	err = r.Retention.SetExpireRule(ctx, rule)
	if errors.Is(err, index.ErrExpireRules) {
		return nil, status.Errorf(codes.ResourceExhausted, "there are %d rules already: one for a domain spares many for accounts", index.MaxExpireRules)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &storev1.SetExpireRuleResponse{}, nil
}

// RemoveExpireRule removes a rule.
func (r *retention) RemoveExpireRule(ctx context.Context, req *storev1.RemoveExpireRuleRequest) (*storev1.RemoveExpireRuleResponse, error) {
	key := expireKey(req.GetRule())
	if key.Folder != index.EveryFolder {
		var err error
		if key.Folder, err = ruleFolder(key.Folder); err != nil {
			return nil, err
		}
	}
	if key.Account >= 1<<63 {
		return nil, invalid("account %d is none", key.Account)
	}
	found, err := r.DropExpireRule(ctx, key)
	if err != nil {
		return nil, toStatus(err)
	}
	if !found {
		return nil, status.Errorf(codes.NotFound, "there is no such rule for %q", key.Folder)
	}
	return &storev1.RemoveExpireRuleResponse{}, nil
}

// ListExpireRules tells all rules.
func (r *retention) ListExpireRules(ctx context.Context, _ *storev1.ListExpireRulesRequest) (*storev1.ListExpireRulesResponse, error) {
	rules, err := r.allExpireRules(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.ListExpireRulesResponse{}
	for i := range rules {
		resp.Rules = append(resp.Rules, fromExpireRule(&rules[i]))
	}
	return resp, nil
}
