package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/index/whole"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// What belongs to no account are limits of domains, and rules of retention and expiry that are of a domain or of all. Those that
// the farm lacks come back; one that it has stays as it is.

// keeps tells that a row takes nothing out of a folder: what is no rule of expiry, or is one that spares a folder. These come back
// ahead of all accounts, so that nothing of them goes before its time, and the others behind: they are to find no half of one.
func keeps(t *whole.Table, v values) bool { return t.Name != "expire_rule" || v.number("never") != 0 }

// farm puts back what belongs to no account, of which wanted tells which rows.
func (r *restore) farm(ctx context.Context, wanted func(*whole.Table, values) bool) error {
	if r.snap.Farm == "" {
		return nil // the backup is of before there were any
	}
	have, err := r.farmHas(ctx)
	if err != nil {
		return fmt.Errorf("look which rules of domains the farm has: %w", err)
	}
	var back []string
	err = r.rows(ctx, 0, r.snap.Farm, func(t *whole.Table, row *storev1.BackupRow) (bool, error) {
		v, err := valuesOf(&storev1.BackupTable{Name: t.Name, Columns: t.Names()}, row)
		if err != nil || !wanted(t, v) {
			return false, err
		}
		is, there := have[rowKey(t, v)]
		if !there {
			back = append(back, ruleName(t, v, ""))
			return true, nil
		}
		if d := differences(t, is, v); len(d) > 0 {
			r.conflict("%s: stays as it is here: %s", ruleName(t, v, ""), strings.Join(d, "; "))
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("put back rules of domains: %w", err)
	}
	r.out.Rules = append(r.out.Rules, back...)
	return nil
}

// farmHas reads what the farm has, by rowKey.
func (r *restore) farmHas(ctx context.Context) (map[string]values, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.Store.Dump(ctx, &storev1.DumpRequest{})
	if err != nil {
		return nil, err
	}
	var tables []*storev1.BackupTable
	have := map[string]values{}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return have, nil
		}
		if err != nil {
			return nil, err
		}
		if len(page.GetTables()) > 0 {
			tables = page.GetTables()
		}
		for _, row := range page.GetRows() {
			if int(row.GetTable()) >= len(tables) {
				return nil, fmt.Errorf("row of table %d of %d", row.GetTable(), len(tables))
			}
			v, err := valuesOf(tables[row.GetTable()], row)
			if err != nil {
				return nil, err
			}
			if t := whole.Find(tables[row.GetTable()].GetName()); t != nil {
				have[rowKey(t, v)] = v
			}
		}
	}
}

// rowKey is what tells a row from all others that belong to no account.
func rowKey(t *whole.Table, v values) string {
	key := []any{t.Name}
	for _, column := range t.Key() {
		key = append(key, v[column])
	}
	return fmt.Sprintf("%#v", key)
}

// differences are sentences on the columns in which a row of the farm is not as the backup has it.
func differences(t *whole.Table, is, was values) (list []string) {
	for _, c := range t.Columns {
		here, known := is[c.Name]
		if known && fmt.Sprint(here) != fmt.Sprint(was[c.Name]) {
			name, duration := strings.CutSuffix(c.Name, "_ns")
			text := func(v any) any {
				if n, ok := v.(int64); ok && duration {
					return time.Duration(n)
				}
				return v
			}
			list = append(list, fmt.Sprintf("%s is %v, and %v in the backup", name, text(here), text(was[c.Name])))
		}
	}
	return list
}

// ruleName is what people call a row of an account, or with an empty address one that belongs to none.
func ruleName(t *whole.Table, v values, address string) string {
	whose := "all"
	if d := v.text("domain"); d != "" {
		whose = "domain " + d
	}
	if address != "" {
		whose = address
	}
	if f := v.text("folder"); f != "" {
		whose += ", folder " + f
	}
	switch t.Name {
	case "domain_quota":
		return "limits of " + whose
	case "retention_rule":
		return "rule of retention of " + whose
	case "expire_rule":
		if n := v.text("name"); n != "" {
			whose += ", " + n
		}
		return "rule of expiry of " + whose
	}
	return "a row of " + t.Name
}
