package front

import "net/netip"

// Limit is why a connection was refused; a name for logs and metrics, of a bounded set.
type Limit string

// The limits of a Server; a Gate has others.
const (
	LimitDraining    Limit = "draining"
	LimitConnections Limit = "connections"
	LimitAddress     Limit = "address"
	// LimitProxy is a PROXY header that is missing, late, no header at all, or not the peer's to send.
	LimitProxy Limit = "proxy"
)

// Gate keeps clients out by what other processes know of them too.
type Gate interface {
	// Enter asks for one connection of a client to a service, as Config.Service. It answers from memory, at once. An empty
	// limit lets the client in: leave, which may be nil, is called once when the connection has ended. Otherwise the limit
	// is what keeps the client out, and leave is nil.
	Enter(service string, client netip.Addr) (limit Limit, leave func())
}
