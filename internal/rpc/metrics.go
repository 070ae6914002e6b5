package rpc

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Metrics are of the calls that a process serves and makes. Methods are those of the farm: names that strangers make up are
// one label together.
type Metrics struct{ served, called side }

// side of calls: what serves, or what calls.
type side struct {
	seconds *prometheus.HistogramVec
	calls   *prometheus.CounterVec
	// known finds what a method and code are counted by without hashing labels.
	known sync.Map // outcome → counted
}

type outcome struct {
	method string
	code   codes.Code
}

type counted struct {
	seconds prometheus.Observer
	calls   prometheus.Counter
}

// NewMetrics makes the metrics; a nil reg keeps them to themselves.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{}
	for _, s := range []struct {
		side       *side
		name, help string
	}{{&m.served, "served", "served to roles and operators"}, {&m.called, "made", "made to other processes"}} {
		s.side.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mailfarm_rpc_" + s.name + "_seconds", Help: "How long calls took that were " + s.help + ".",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"method"})
		s.side.calls = prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailfarm_rpc_" + s.name + "_total", Help: "Calls that were " + s.help + ", by gRPC code.",
		}, []string{"method", "code"})
		if reg == nil {
			continue
		}
		for _, c := range []prometheus.Collector{s.side.seconds, s.side.calls} {
			if err := reg.Register(c); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// otherMethod stands for methods that are not the farm's.
const otherMethod = "other"

// note counts one call.
func (s *side) note(method string, start time.Time, err error) {
	key := outcome{method, status.Code(err)}
	c, ok := s.known.Load(key)
	if !ok {
		c, _ = s.known.LoadOrStore(key, counted{s.seconds.WithLabelValues(method), s.calls.WithLabelValues(method, key.code.String())})
	}
	c.(counted).seconds.Observe(time.Since(start).Seconds())
	c.(counted).calls.Inc()
}

// short is a method without the slash and package prefix: "store.v1.Mailboxes/Deliver".
func short(method string) string { return strings.TrimPrefix(method, "/mailfarm.") }

// ServerOptions count what a server serves. Calls of unknown methods, as Forward passes on, are counted where they are served.
func (m *Metrics) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(m.servedUnary), grpc.ChainStreamInterceptor(m.servedStream)}
}

func (m *Metrics) servedUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer m.served.end(short(info.FullMethod), time.Now(), &err)
	return handler(ctx, req)
}

func (m *Metrics) servedStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	method := otherMethod
	if srv != nil { // what no service has comes without one
		method = short(info.FullMethod)
	}
	defer m.served.end(method, time.Now(), &err)
	return handler(srv, ss)
}

// end is deferred by a call; a panic counts as Internal, and goes on.
func (s *side) end(method string, start time.Time, err *error) {
	if p := recover(); p != nil {
		s.note(method, start, status.Error(codes.Internal, "panic"))
		panic(p)
	}
	s.note(method, start, toStatus(*err))
}

// DialOptions count what a connection's calls are; of streams how they end when they are read to their end.
func (m *Metrics) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, resp any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			start := time.Now()
			err := invoke(ctx, method, req, resp, cc, opts...)
			m.called.note(short(method), start, err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			start := time.Now()
			opts = append(opts, grpc.OnFinish(func(err error) { m.called.note(short(method), start, err) }))
			return streamer(ctx, desc, cc, method, opts...)
		}),
	}
}
