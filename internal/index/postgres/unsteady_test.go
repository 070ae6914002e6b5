package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// way is a connection to a database that is lost now and then, often about a commit.
type way struct {
	proxy  *servers.Proxy
	pool   *pgxpool.Pool // beside it
	mu     sync.Mutex
	struck int // guarded by mu
}

// unsteady puts a proxy before a database.
func unsteady(t *testing.T, pg *servers.PG) (*way, *servers.PG) {
	t.Helper()
	u, err := url.Parse(pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	named := *u
	params := u.Query()
	params.Set("application_name", "beside")
	named.RawQuery = params.Encode()
	beside := *pg
	beside.URL = named.String()
	w := &way{proxy: servers.NewProxy(t, u.Host), pool: side(t, &beside)}
	u.Host = w.proxy.Addr()
	through := *pg
	through.URL = u.String()
	return w, &through
}

// begin lets one of twelve pieces end its connection, and of those with a commit every other, at any place about it, up to
// three times. Some calls are given up after a moment.
func (w *way) begin(ctx context.Context, r *rand.Rand) (context.Context, context.CancelFunc) {
	cancel := context.CancelFunc(func() {})
	if r.IntN(5) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(8000))*time.Microsecond)
	}
	// Connections are their own goroutines, which have the steps' source of chance no longer to themselves.
	r = rand.New(rand.NewPCG(r.Uint64(), 0))
	left := 1 + r.IntN(3)
	w.proxy.Set(servers.Mode{Strike: func(piece []byte, fromClient bool) servers.Blow {
		odds := 12
		if fromClient && bytes.Contains(bytes.ToLower(piece), []byte("commit")) {
			odds = 2
		}
		if left == 0 || r.IntN(odds) != 0 {
			return servers.Pass
		}
		left--
		w.mu.Lock()
		w.struck++
		w.mu.Unlock()
		return []servers.Blow{servers.Lose, servers.Halve, servers.Last}[r.IntN(3)]
	}})
	return ctx, cancel
}

// stillAtWork is the code of what settled raises, after half a second; settleTries is how often it is asked.
const stillAtWork, settleTries = "P0001", 60

// settled waits within the server until it works on nothing that came by the way and has ended all connections that were
// lost on it. A call that was given up may have been on its way: twice in a row nothing must be found.
const settled = `DO $$
DECLARE
	quiet integer := 0;
BEGIN
	FOR look IN 1..100 LOOP
		PERFORM pg_stat_clear_snapshot();
		PERFORM FROM pg_stat_activity
			WHERE datname = current_database() AND application_name <> 'beside' AND backend_type = 'client backend'
				AND (state <> 'idle' OR NOT client_port = ANY ('{%s}'::integer[]));
		quiet := CASE WHEN FOUND THEN 0 ELSE quiet + 1 END;
		IF quiet = 2 THEN
			RETURN;
		END IF;
		PERFORM pg_sleep(0.005);
	END LOOP;
	RAISE EXCEPTION 'the server is still at work';
END $$`

// settle waits until the server has done with all that came to it.
func (w *way) settle(ctx context.Context) error {
	for tries := 1; ; tries++ {
		// Anew each time: the pool makes connections in the background, also for calls that were given up.
		var ports []string
		for _, p := range w.proxy.Ports() {
			ports = append(ports, strconv.Itoa(p))
		}
		_, err := w.pool.Exec(ctx, fmt.Sprintf(settled, strings.Join(ports, ",")))
		var busy *pgconn.PgError
		if !errors.As(err, &busy) || busy.Code != stillAtWork || tries == settleTries {
			return err
		}
	}
}

func (w *way) strikes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.struck
}

// TestUnsteadyMailboxes has connections lost at any place, and calls given up.
func TestUnsteadyMailboxes(t *testing.T) {
	w, pg := unsteady(t, servers.Postgres(t))
	cancel := func() {}
	indextest.RunUnsteady(t, subjectOn(t, pg), indextest.Trouble{
		Begin: func(ctx context.Context, r *rand.Rand) context.Context {
			ctx, cancel = w.begin(ctx, r)
			return ctx
		},
		End:    func() { w.proxy.Set(servers.Mode{}); cancel() },
		Settle: w.settle,
		Struck: w.strikes,
	})
}

// TestUnsteadyLedger has connections lost at any place, and calls given up.
func TestUnsteadyLedger(t *testing.T) {
	w, pg := unsteady(t, servers.Postgres(t))
	l := connect(t, pg, postgres.Options{}).Ledger()
	cancel := func() {}
	ledgertest.RunUnsteady(t, l, ledgertest.Trouble{
		Begin: func(ctx context.Context, r *rand.Rand) context.Context {
			ctx, cancel = w.begin(ctx, r)
			return ctx
		},
		End:    func() { w.proxy.Set(servers.Mode{}); cancel() },
		Settle: w.settle,
	})
	if w.strikes() == 0 {
		t.Error("no connection was lost: the test shows nothing")
	}
}
