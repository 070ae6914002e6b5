package limits

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/front"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// removedFor is how long a ban that an operator lifted is remembered, so that no process that missed it brings it back.
const removedFor = 7 * 24 * time.Hour

// ban is what this process knows of one network.
type ban struct {
	*adminv1.Ban
	network  netip.Prefix
	revision uint64    // in the bucket; 0: not there
	missing  time.Time // since when it should be in the bucket and is not; zero: it is
	pending  bool      // newer than what the bucket has
}

// holds tells whether it is in force.
func (b *ban) holds(now time.Time) bool { return b.RemovedNs == 0 && now.UnixNano() < b.UntilNs }

// over tells whether it need not be remembered; forget is how long a ban makes the next one longer.
func (b *ban) over(now time.Time, forget time.Duration) bool {
	return now.UnixNano() > b.UntilNs+int64(forget) || b.RemovedNs != 0 && now.UnixNano() > b.RemovedNs+int64(removedFor)
}

// bans are all that this process knows.
type bans struct {
	mu      sync.RWMutex
	all     map[netip.Prefix]*ban // guarded by mu, and what it points to; a ban that is changed is replaced
	lengths [2]map[int]int        // guarded by mu: how many there are of each length of IPv4 and IPv6
	bits    [2][]int              // guarded by mu: the lengths that there are
}

func newBans() *bans {
	return &bans{all: map[netip.Prefix]*ban{}, lengths: [2]map[int]int{{}, {}}}
}

// family is 0 for IPv4, 1 for IPv6.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// holds tells whether a client is banned now.
func (b *bans) holds(client netip.Addr, now time.Time) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	x := b.find(client, now)
	return x != nil
}

// find needs mu: the ban that is in force for a client, or nil.
func (b *bans) find(client netip.Addr, now time.Time) *ban {
	for _, bits := range b.bits[family(client)] {
		if p, err := client.Prefix(bits); err == nil {
			if x := b.all[p]; x != nil && x.holds(now) {
				return x
			}
		}
	}
	return nil
}

// set needs mu.
func (b *bans) set(x *ban) {
	if b.all[x.network] == nil {
		b.length(x.network, 1)
	}
	b.all[x.network] = x
}

// drop needs mu.
func (b *bans) drop(network netip.Prefix) {
	if b.all[network] != nil {
		delete(b.all, network)
		b.length(network, -1)
	}
}

// length needs mu: it counts the lengths of networks.
func (b *bans) length(network netip.Prefix, n int) {
	f, bits := family(network.Addr()), network.Bits()
	if b.lengths[f][bits] += n; b.lengths[f][bits] == 0 {
		delete(b.lengths[f], bits)
	}
	b.bits[f] = b.bits[f][:0]
	for bits := range b.lengths[f] {
		b.bits[f] = append(b.bits[f], bits)
	}
	slices.Sort(b.bits[f])
}

// list is what is in force, in the order of networks.
func (b *bans) list(now time.Time) (all []*adminv1.Ban) {
	b.mu.RLock()
	var held []*ban
	for _, x := range b.all {
		if x.holds(now) {
			held = append(held, x)
		}
	}
	b.mu.RUnlock()
	slices.SortFunc(held, func(x, y *ban) int { return x.network.Compare(y.network) })
	for _, x := range held {
		all = append(all, x.Ban)
	}
	return all
}

// active is how many are in force.
func (b *bans) active(now time.Time) (n int) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, x := range b.all {
		if x.holds(now) {
			n++
		}
	}
	return n
}

// merge takes what the bucket holds of a network, and tells whether a ban came into force by it.
func (b *bans) merge(x *ban, now time.Time) (began bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	have := b.all[x.network]
	if have != nil && (have.pending || have.revision == 0) && have.ChangedNs > x.ChangedNs {
		// Ours is the later one: it goes over what is there.
		mine := *have
		mine.revision, mine.pending, mine.missing = x.revision, true, time.Time{}
		b.set(&mine)
		return false
	}
	b.set(x)
	return x.holds(now) && (have == nil || !have.holds(now))
}

// removed takes that the bucket lost a network by another's hand.
func (b *bans) removed(network netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if have := b.all[network]; have != nil && !have.pending {
		b.drop(network)
	}
}

// gone takes that the bucket holds nothing of a network by now.
func (b *bans) gone(x *ban, revision uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[x.network] == x {
		fresh := *x
		fresh.revision = revision
		b.set(&fresh)
	}
}

// doubt takes back what is known of the bucket.
func (b *bans) doubt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for network, x := range b.all {
		unsure := *x
		unsure.revision = 0
		b.all[network] = &unsure
	}
}

// miss notes which of the bans in force the bucket lacks, now that all it holds is known.
func (b *bans) miss(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for network, x := range b.all {
		if x.revision == 0 && !x.pending && x.missing.IsZero() && x.holds(now) {
			lost := *x
			lost.missing = now
			b.all[network] = &lost
		}
	}
}

// parseNetwork reads an address, which stands for what clients are counted as, or a network.
func parseNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() {
			return netip.Prefix{}, fmt.Errorf("%q: write it as an IPv4 network", text)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24 or 2001:db8::/48", text)
	}
	return subscriberNetwork(a.Unmap()), nil
}

// subscriberNetwork is the network that a client is banned by.
func subscriberNetwork(client netip.Addr) netip.Prefix {
	bits := 32
	if client.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(front.Subscriber(client), bits)
}

// bucketKey is where the bucket keeps a network.
func bucketKey(network netip.Prefix) string {
	return hex.EncodeToString(network.Addr().AsSlice()) + "." + strconv.Itoa(network.Bits())
}

// decode reads an entry of the bucket.
func decode(e bus.BucketEntry) (*ban, error) {
	x := &ban{Ban: &adminv1.Ban{}, revision: e.Revision}
	if err := proto.Unmarshal(e.Value, x.Ban); err != nil {
		return nil, fmt.Errorf("read ban %s: %w", e.Key, err)
	}
	p, err := netip.ParsePrefix(x.Network)
	if err != nil || bucketKey(p) != e.Key {
		return nil, fmt.Errorf("read ban %s: it is of %q", e.Key, x.Network)
	}
	x.network = p
	return x, nil
}

// networkOf is the network of a key of the bucket.
func networkOf(key string) (netip.Prefix, bool) {
	if len(key) < 10 {
		return netip.Prefix{}, false
	}
	at := 8
	if key[at] != '.' {
		at = 32
	}
	if len(key) <= at || key[at] != '.' {
		return netip.Prefix{}, false
	}
	octets, err := hex.DecodeString(key[:at])
	bits, err2 := strconv.Atoi(key[at+1:])
	a, ok := netip.AddrFromSlice(octets)
	if err != nil || err2 != nil || !ok {
		return netip.Prefix{}, false
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}
