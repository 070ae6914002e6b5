package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Explainer tells how a database would run statements.
type Explainer struct {
	t    testing.TB
	conn *pgx.Conn
}

// Explainer connects to the database; fill it and ANALYZE first.
func (pg *PG) Explainer(t testing.TB) *Explainer {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return &Explainer{t, conn}
}

// Reads tells what a statement's plan reads, in the order of names: its indexes, and a table's own name where all of it is
// gone through. args are SQL, with commas between. generic asks for the plan that serves any arguments, which is what a
// prepared statement gets in the long run, and else for that of these.
func (e *Explainer) Reads(generic bool, query, args string) string {
	e.t.Helper()
	mode := "force_custom_plan"
	if generic {
		mode = "force_generic_plan"
	}
	if args != "" {
		args = "(" + args + ")"
	}
	ctx := context.Background()
	var errs []error
	for _, q := range []string{"SET plan_cache_mode = " + mode, "DEALLOCATE ALL", "PREPARE explained AS " + query} {
		_, err := e.conn.Exec(ctx, q, pgx.QueryExecModeSimpleProtocol)
		errs = append(errs, err)
	}
	var text []byte
	err := e.conn.QueryRow(ctx, "EXPLAIN (FORMAT JSON) EXECUTE explained"+args, pgx.QueryExecModeSimpleProtocol).Scan(&text)
	var plans []struct{ Plan plan }
	if err = errors.Join(append(errs, err)...); err == nil {
		err = json.Unmarshal(text, &plans)
	}
	if err != nil || len(plans) == 0 {
		e.t.Fatal(fmt.Errorf("explain %s: %w", query, err))
	}
	read := plans[0].Plan.reads(nil)
	slices.Sort(read)
	return strings.Join(read, " ")
}

// plan is a node of a plan.
type plan struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Plans    []plan
}

func (p plan) reads(read []string) []string {
	switch {
	case p.Index != "":
		read = append(read, p.Index)
	case strings.HasSuffix(p.Type, "Scan") && p.Relation != "" && p.Type != "Bitmap Heap Scan":
		read = append(read, p.Relation)
	}
	for _, below := range p.Plans {
		read = below.reads(read)
	}
	return read
}
