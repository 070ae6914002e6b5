package directory

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// guessed tells those who keep out guessers of a wrong password. All they get of it is 32 bits of a MAC under the farm's
// secret, by which the same one that is tried again is known.
func (s *Service) guessed(ctx context.Context, name, password, client string) {
	if s.failures == nil {
		return
	}
	secret, err := s.store.Secret(ctx)
	if err != nil {
		s.guessedUnseen(name, client)
		return
	}
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("failed login\x00" + name + "\x00" + password))
	s.tell(name, client, binary.BigEndian.Uint32(h.Sum(nil)))
}

// guessedUnseen tells of a wrong password that the mechanism has not shown: it may be another each time.
func (s *Service) guessedUnseen(name, client string) {
	if s.failures != nil {
		s.tell(name, client, rand.Uint32())
	}
}

func (s *Service) tell(name, client string, mark uint32) {
	if addr, err := netip.ParseAddr(client); err == nil {
		s.failures.LoginFailed(addr.Unmap().WithZone(""), name, mark)
	}
}
