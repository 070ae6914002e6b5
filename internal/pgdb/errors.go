package pgdb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors that callers branch on.
var (
	// ErrAway is a database that cannot be reached or takes no writes. A Write that fails with it alone has changed nothing.
	ErrAway error = &unavailable{"database is away"}
	// ErrBusy is a pool that had no free connection in time; nothing was done.
	ErrBusy error = &unavailable{"no database connection is free"}
	// ErrUnknown is a commit whose outcome is not known: what a repeat does no harm to may be repeated.
	ErrUnknown error = &unavailable{"outcome of commit is unknown"}
	// ErrFull is a database without room on its disk. Nothing was written; it works again once there is room.
	ErrFull = errors.New("database has no room left on its disk")
	// ErrSchema is a schema that this program cannot serve.
	ErrSchema = errors.New("schema does not fit this program")
)

// unavailable is an error that passes: where a role answers a call with it, the caller sees UNAVAILABLE and may try again.
type unavailable struct{ text string }

func (e *unavailable) Error() string { return e.text }

// GRPCStatus is what status.FromError finds, also within other errors.
func (e *unavailable) GRPCStatus() *status.Status { return status.New(codes.Unavailable, e.text) }

// ErrNoRows is a QueryRow without a row.
var ErrNoRows = pgx.ErrNoRows

// Code is the SQLSTATE of an error that the server sent, or "".
func Code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// undone tells of a transaction that the server undid because of another one, or because its plan was out of date.
func undone(err error) bool {
	switch Code(err) {
	case "40001", "40P01":
		return true
	case "0A000":
		return strings.Contains(err.Error(), "cached plan")
	}
	return false
}

// fatal tells of errors with which the server ended the connection.
func fatal(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	severity := e.SeverityUnlocalized
	if severity == "" {
		severity = e.Severity
	}
	return severity == "FATAL" || severity == "PANIC"
}

// classify names what callers branch on. away tells that the connection is gone.
func classify(ctx context.Context, err error, away bool) error {
	switch code := Code(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errors.Join(ctx.Err(), err)
	case code == "53100":
		return fmt.Errorf("%w: %w", ErrFull, err)
	// A standby, a server that starts or ends, one that lets nobody in.
	case away, code == "25006", strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "08"), code == "53300":
		if errors.Is(err, ErrAway) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}
