package pgdb_test

import (
	"bytes"
	"errors"
	"net/url"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// TestCommitLost loses the connection about a COMMIT: before it came to the server, within it, and behind it. That the
// outcome is unknown is said each time; nothing is written twice.
func TestCommitLost(t *testing.T) {
	pg := servers.Postgres(t)
	u, err := url.Parse(pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := servers.NewProxy(t, u.Host)
	u.Host = proxy.Addr()
	db := open(t, pgdb.Config{URL: u.String()})
	for i, tt := range []struct {
		name string
		blow servers.Blow
		want int
	}{{"before it", servers.Lose, 0}, {"within it", servers.Halve, 0}, {"behind it", servers.Last, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			if err := db.Write(t.Context(), exec("INSERT INTO t VALUES ($1, 0)", i)); err != nil {
				t.Fatal(err)
			}
			runs := 0
			proxy.Set(servers.Mode{Strike: func(piece []byte, fromClient bool) servers.Blow {
				if fromClient && bytes.Contains(piece, []byte("commit\x00")) {
					return tt.blow
				}
				return servers.Pass
			}})
			err := db.Write(t.Context(), func(tx *pgdb.Tx) error {
				runs++
				return exec("UPDATE t SET v = v + 1 WHERE k = $1", i)(tx)
			})
			proxy.Set(servers.Mode{})
			if !errors.Is(err, pgdb.ErrUnknown) || runs != 1 {
				t.Errorf("got %v after %d runs, want ErrUnknown after one", err, runs)
			}
			// Waits for the row where the server is still at it.
			if err := db.Write(t.Context(), exec("UPDATE t SET v = v WHERE k = $1", i)); err != nil {
				t.Fatal(err)
			}
			if got := value(t, db, i); got != tt.want {
				t.Errorf("written %d times, want %d", got, tt.want)
			}
		})
	}
}
