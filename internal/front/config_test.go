package front_test

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/front"
)

func TestValidate(t *testing.T) {
	listeners := []front.Listener{{Address: "0.0.0.0:25"}, {}, {Address: "[::]:25"}, {Address: "nonsense"}, {Address: ":25", ImplicitTLS: true}}
	err := front.Validate("lmtp", listeners)
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "lmtp[1].address: ") || !strings.Contains(err.Error(), "lmtp[3].address: ") {
		t.Errorf("got %v, want the faults of lmtp[1] and lmtp[3]", err)
	}
	if err := front.Validate("lmtp", listeners[:1]); err != nil {
		t.Errorf("got %v of a good one", err)
	}
	if err := front.CheckTLS("lmtp", listeners, nil); err == nil || !strings.Contains(err.Error(), "lmtp[4]: ") {
		t.Errorf("implicit TLS without a certificate: got %v", err)
	}
	if err := front.CheckTLS("lmtp", listeners, &tls.Config{}); err != nil {
		t.Errorf("implicit TLS with a certificate: got %v", err)
	}
}

func TestNetworks(t *testing.T) {
	networks, err := front.ParseNetworks("plaintext_networks", []string{"127.0.0.1/8", "localhost", "::1/128", "10.0.0.1"})
	if err == nil || !strings.Contains(err.Error(), "plaintext_networks[1]: ") || !strings.Contains(err.Error(), "plaintext_networks[3]: ") {
		t.Errorf("got %v, want the faults of plaintext_networks[1] and [3]", err)
	}
	for _, row := range []struct {
		addr string
		want bool
	}{
		{"127.0.0.1", true}, {"127.255.0.1", true}, {"128.0.0.1", false}, {"::1", true}, {"::2", false}, {"10.0.0.1", false},
	} {
		if got := networks.Contain(netip.MustParseAddr(row.addr)); got != row.want {
			t.Errorf("%s: got %v, want %v", row.addr, got, row.want)
		}
	}
	if networks.Contain(netip.Addr{}) {
		t.Error("a client without an address is in a network")
	}
}

func TestSubscriber(t *testing.T) {
	for _, row := range []struct{ addr, want string }{
		{"192.0.2.1", "192.0.2.1"}, {"2001:db8:1:2:3::4", "2001:db8:1:2::"},
	} {
		if got := front.Subscriber(netip.MustParseAddr(row.addr)); got != netip.MustParseAddr(row.want) {
			t.Errorf("%s: got %v, want %s", row.addr, got, row.want)
		}
	}
	if got := front.Subscriber(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: got %v", got)
	}
}
