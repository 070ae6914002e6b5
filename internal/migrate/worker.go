package migrate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/imapsource"
	"github.com/mailfarm/mailfarm/internal/importer"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// worker brings one account.
type worker struct {
	run     *Run
	account *Account
	report  *AccountReport
	dir     string
	conn    *imapsource.Conn
	here    []*storev1.Mailbox
	// lost counts how often the connection broke at a message of the folder in hand.
	lost map[uint32]int
	// moved tells that something was achieved since the last time the connection broke.
	moved bool
}

// farmError is an error of this farm: another connection to the source does not help.
type farmError struct{ error }

func (e farmError) Unwrap() error { return e.error }

func ofFarm(what string, err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		err = errors.New(s.Message())
	}
	return farmError{fmt.Errorf("%s: %w", what, err)}
}

// work brings all folders.
func (w *worker) work(ctx context.Context) error {
	w.dir = statePath(w.run.State, w.account)
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return fmt.Errorf("make folder of state: %w", err)
	}
	var folders []*planned
	if err := w.again(ctx, func() (err error) { folders, err = w.survey(ctx); return err }); err != nil {
		return err
	}
	for _, f := range folders {
		if f.report.Excluded != "" {
			continue
		}
		clear(w.lost)
		begun := false
		err := w.again(ctx, func() error {
			if begun { // what is here has changed since it was listed
				if err := w.list(ctx); err != nil {
					return err
				}
			}
			begun = true
			return w.pass(ctx, f)
		})
		if err == nil {
			continue
		}
		f.report.Error = err.Error()
		// A folder at which the connection breaks again and again must not keep the others back.
		if ctx.Err() != nil || errors.As(err, new(farmError)) || w.connect(ctx) != nil {
			return fmt.Errorf("folder %q: %w", f.Name, err)
		}
	}
	return w.count(ctx, folders)
}

// survey lists folders and says where they go.
func (w *worker) survey(ctx context.Context) ([]*planned, error) {
	w.report.Folders, w.report.Notes, w.report.noted = []*FolderReport{}, []string{}, nil
	list, err := w.conn.Folders()
	if err != nil {
		return nil, err
	}
	if err := w.list(ctx); err != nil {
		return nil, err
	}
	folders := w.run.plan(list, w.here, w.report.note)
	for _, f := range folders {
		w.report.Folders = append(w.report.Folders, f.report)
		if f.report.Excluded != "" {
			continue
		}
		if f.status, err = w.conn.Status(f.Folder); imapsource.IsRefused(err) {
			f.status = nil // EXAMINE tells why
		} else if err != nil {
			return nil, err
		}
	}
	order(folders)
	gone, err := w.vanished(ctx, list)
	return append(folders, gone...), err
}

// list asks what there is here.
func (w *worker) list(ctx context.Context) error {
	return w.patiently(ctx, "list folders here", func() error {
		resp, err := w.run.Mailboxes.List(ctx, &storev1.ListRequest{Account: w.account.ID})
		w.here = resp.GetMailboxes()
		return err
	})
}

func (w *worker) box(name string) *storev1.Mailbox {
	if i := slices.IndexFunc(w.here, func(m *storev1.Mailbox) bool { return m.GetExists() && m.GetName() == name }); i >= 0 {
		return w.here[i]
	}
	return nil
}

// count tells at the end what there is here.
func (w *worker) count(ctx context.Context, folders []*planned) error {
	if err := w.list(ctx); err != nil {
		return err
	}
	counted := map[string]bool{}
	for _, f := range folders {
		if m := w.box(f.target); m != nil && f.report.Excluded == "" && !counted[f.target] {
			counted[f.target] = true // where two go into one it counts once
			f.report.Here, f.report.OctetsHere = int64(m.GetMessages()), m.GetSize()
		}
	}
	return nil
}

// patiently asks the farm, and again while it is away.
func (w *worker) patiently(ctx context.Context, what string, do func() error) error {
	for _, wait := range w.run.Retry {
		err := do()
		if err == nil || !importer.Away(err) {
			return ofFarm(what, err)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	return ofFarm(what, do())
}

func pause(ctx context.Context, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again does something with a connection, and once more with another where that one broke, until it breaks too often without
// anything having been achieved.
func (w *worker) again(ctx context.Context, do func() error) error {
	for tries := 0; ; tries++ {
		err := w.connect(ctx)
		if err == nil {
			w.moved = false
			if err = do(); err == nil {
				return nil
			}
			if imapsource.IsRefused(err) || errors.As(err, new(farmError)) {
				return err
			}
			w.hangUp()
		}
		if w.moved {
			tries = 0
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if certificate := (*tls.CertificateVerificationError)(nil); errors.As(err, &certificate) {
			return fmt.Errorf("the certificate is not trusted (--source-ca names a private authority): %w", err)
		}
		if errors.Is(err, imapsource.ErrLogin) || tries >= len(w.run.Retry) {
			return err
		}
		if err := pause(ctx, w.run.Retry[tries]); err != nil {
			return err
		}
	}
}

func (w *worker) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	login := w.account.Login
	if w.account.TokenFor != nil {
		token, err := w.account.TokenFor(ctx, login.User)
		if err != nil {
			return fmt.Errorf("%w: get a token: %w", imapsource.ErrLogin, err)
		}
		login.Token = token
	}
	c, err := imapsource.Dial(ctx, w.account.Server)
	if err != nil {
		return err
	}
	if err := c.Login(login); err != nil {
		c.Close()
		return fmt.Errorf("log in as %s: %w", login.User, err)
	}
	w.conn = c
	return nil
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}
