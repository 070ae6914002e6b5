package postgres

import (
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// TestPlans shows that look-ups in a large directory go by an index, for one key and for hundreds, whether the server plans
// for the very arguments or for any.
func TestPlans(t *testing.T) {
	pg := servers.Postgres(t)
	if err := Migrate(t.Context(), pgdb.Config{URL: pg.URL}); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`INSERT INTO directory_domain SELECT 'd' || i || '.example', i, '', 0 FROM generate_series(1, 100000) i`,
		`INSERT INTO directory_account SELECT i, 'u' || i || '@d' || i % 100000 || '.example', 'd' || i % 100000 || '.example', '', 1, 0, false
			FROM generate_series(1, 100000) i`,
		`INSERT INTO directory_alias SELECT 'a' || i || '@d' || i % 100000 || '.example', 'd' || i % 100000 || '.example', '' FROM generate_series(1, 100000) i`,
		`ANALYZE`,
	} {
		pg.Admin(t, q)
	}
	explainer := pg.Explainer(t)
	for _, n := range []int{1, 256} {
		names, ids := "ARRAY['x'"+strings.Repeat(",'x'", n-1)+"]", "ARRAY[1"+strings.Repeat(",1", n-1)+"]::bigint[]"
		for _, tt := range []struct{ name, query, args, want string }{
			{"primary domain", primaryDomain, "", "directory_domain_position_key"},
			{"domains", domainsByName, names, "directory_domain_pkey"},
			{"accounts", accountsByAddress, names, "directory_account_address_key"},
			{"accounts by id", accountsByID, ids, "directory_account_pkey"},
			{"aliases", aliasesByAddress, names, "directory_alias_pkey"},
			{"accounts of a domain", accountsOfDomain, "'d7.example'", "directory_account_domain"},
			{"aliases of a domain", aliasesOfDomain, "'d7.example'", "directory_alias_domain"},
			{"update of accounts", updateAccounts, "1, " + ids + ", NULL", "directory_account_pkey"},
		} {
			for _, generic := range []bool{false, true} {
				if got := explainer.Reads(generic, tt.query, tt.args); got != tt.want {
					t.Errorf("%s, %d keys, generic %t: reads %s, want %s", tt.name, n, generic, got, tt.want)
				}
			}
		}
	}
}
