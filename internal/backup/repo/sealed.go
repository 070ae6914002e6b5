package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"filippo.io/age"
)

// sealedSuffix is of files that are encrypted.
const sealedSuffix = ".age"

// ErrSealed is an encrypted repository that is read without a key, or with one that is not its own.
var ErrSealed = errors.New("the repository is encrypted")

// maxOpened is how many packs are remembered with their keys.
const maxOpened = 64

// sealed is a repository whose files are encrypted by age (age-encryption.org/v1), each by itself, all but README.txt. Names
// and sizes are in the clear: names are times and digests of what is compressed.
type sealed struct {
	Backend
	temp       string
	identities []age.Identity
	recipients []age.Recipient

	mu sync.Mutex
	// sizes are those of encrypted files, by their names without the suffix.
	sizes  map[string]int64
	opened map[string]io.ReaderAt
}

// Seal encrypts what goes to a repository, and decrypts what comes from it. identities is a file of secret keys as age-keygen
// writes it: what earlier runs wrote is read with them, and everything is encrypted to them, and to the recipients, of whom
// there may be none. temp is where files are made.
func Seal(b Backend, identities, recipients io.Reader, temp string) (Backend, error) {
	s := &sealed{Backend: b, temp: temp, sizes: map[string]int64{}, opened: map[string]io.ReaderAt{}}
	var err error
	if s.identities, err = age.ParseIdentities(identities); err != nil {
		return nil, fmt.Errorf("read secret keys: %w", err)
	}
	for _, id := range s.identities {
		switch id := id.(type) {
		case *age.X25519Identity:
			s.recipients = append(s.recipients, id.Recipient())
		case *age.HybridIdentity:
			s.recipients = append(s.recipients, id.Recipient())
		default:
			return nil, fmt.Errorf("secret keys of the kind %T are not known", id)
		}
	}
	if recipients != nil {
		more, err := age.ParseRecipients(recipients)
		if err != nil {
			return nil, fmt.Errorf("read public keys: %w", err)
		}
		s.recipients = append(s.recipients, more...)
	}
	// Tells now which keys do not go together.
	if _, err := age.Encrypt(io.Discard, s.recipients...); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return s, nil
}

// plain tells of a file that whoever finds the repository is to read.
func plain(name string) bool { return !strings.Contains(name, "/") }

// Put encrypts to a temporary file first: its size must be known.
func (s *sealed) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if plain(name) {
		return s.Backend.Put(ctx, name, body, size)
	}
	f, err := os.CreateTemp(s.temp, "mailfarm-backup-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	w, err := age.Encrypt(f, s.recipients...)
	if err == nil {
		_, err = io.Copy(w, body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("encrypt %s: %w", name, err)
	}
	size, err = f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	if err := s.Backend.Put(ctx, name+sealedSuffix, f, size); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes[name] = size
	delete(s.opened, name)
	return nil
}

// Get decrypts. A range is read by the pieces of 64 KiB that age encrypts by themselves.
func (s *sealed) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if plain(name) {
		return s.Backend.Get(ctx, name, offset, length)
	}
	if offset == 0 && length < 0 {
		raw, err := s.Backend.Get(ctx, name+sealedSuffix, 0, -1)
		if err != nil {
			return nil, err
		}
		r, err := age.Decrypt(raw, s.identities...)
		if err != nil {
			return nil, errors.Join(unsealError(name, err), raw.Close())
		}
		return struct {
			io.Reader
			io.Closer
		}{r, raw}, nil
	}
	at, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	if length < 0 {
		length = 1<<62 - offset
	}
	return io.NopCloser(io.NewSectionReader(at, offset, length)), nil
}

func unsealError(name string, err error) error {
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return fmt.Errorf("%s: %w, and none of the keys given opens it", name, ErrSealed)
	}
	return fmt.Errorf("%s: %w: %w", name, ErrCorrupt, err)
}

// open reads the head of a file, where its key is, and its end.
func (s *sealed) open(ctx context.Context, name string) (io.ReaderAt, error) {
	s.mu.Lock()
	at, size := s.opened[name], s.sizes[name]
	s.mu.Unlock()
	if at != nil {
		return at, nil
	}
	if size == 0 {
		folder, _, _ := strings.Cut(name, "/")
		if _, err := s.List(ctx, folder); err != nil {
			return nil, err
		}
		s.mu.Lock()
		size = s.sizes[name]
		s.mu.Unlock()
	}
	src := &ranges{ctx: context.WithoutCancel(ctx), b: s.Backend, name: name + sealedSuffix}
	at, _, err := age.DecryptReaderAt(src, size, s.identities...)
	switch {
	case src.err != nil:
		return nil, src.err
	case err != nil:
		return nil, unsealError(name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.opened) >= maxOpened {
		clear(s.opened)
	}
	s.opened[name] = at
	return at, nil
}

// ranges reads a file by ranges. err is what failed last, for the time before others read it.
type ranges struct {
	ctx  context.Context
	b    Backend
	name string
	err  error
}

func (r *ranges) ReadAt(p []byte, at int64) (int, error) {
	body, err := r.b.Get(r.ctx, r.name, at, int64(len(p)))
	if err != nil {
		r.err = err
		return 0, err
	}
	n, err := io.ReadFull(body, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if closed := body.Close(); err == nil {
		err = closed
	}
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// List tells files by the names that they have without encryption. One that is not encrypted does not belong there.
func (s *sealed) List(ctx context.Context, folder string) ([]File, error) {
	list, err := s.Backend.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range list {
		name, ok := strings.CutSuffix(f.Name, sealedSuffix)
		if !ok {
			return nil, fmt.Errorf("%s has %s, which is not encrypted: an encrypted repository begins with an empty folder", s.Backend, f.Name)
		}
		list[i].Name, s.sizes[name] = name, f.Size
	}
	return list, nil
}

// Remove removes a file.
func (s *sealed) Remove(ctx context.Context, name string) error {
	if plain(name) {
		return s.Backend.Remove(ctx, name)
	}
	s.mu.Lock()
	delete(s.opened, name)
	s.mu.Unlock()
	return s.Backend.Remove(ctx, name+sealedSuffix)
}
