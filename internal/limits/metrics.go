package limits

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	refusedBan, refusedConnection, refusedMessage                 prometheus.Counter
	refusedAccount, refusedAccountMessage, refusedRecipient       prometheus.Counter
	failures, banned, keysTold, keysUntold, bytesTold, bytesHeard prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, l *Limits) *metrics {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_limits_refused_total", Help: "What the shared limits refused, by what there was too much of."}, []string{"limit"})
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "mailfarm_limits_" + name, Help: help})
	}
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mailfarm_limits_gossip_bytes_total", Help: "Octets of counts told to other processes and heard from them."}, []string{"direction"})
	m := &metrics{
		refusedBan:            refused.WithLabelValues("ban"),
		refusedConnection:     refused.WithLabelValues("connections"),
		refusedMessage:        refused.WithLabelValues("messages"),
		refusedAccount:        refused.WithLabelValues("account_connections"),
		refusedAccountMessage: refused.WithLabelValues("account_messages"),
		refusedRecipient:      refused.WithLabelValues("account_recipients"),
		failures:              count("login_failures_total", "Failed logins that were counted."),
		banned:                count("banned_total", "Clients banned by this process."),
		keysTold:              count("gossip_keys_total", "Keys that other processes were told of."),
		keysUntold:            count("gossip_keys_left_out_total", "Keys that a message to other processes had no room for."),
		bytesTold:             bytes.WithLabelValues("told"),
		bytesHeard:            bytes.WithLabelValues("heard"),
	}
	if reg == nil {
		return m
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mailfarm_limits_" + name, Help: help}, f)
	}
	inTable := func(f func(*table) int) func() float64 {
		return func() float64 {
			l.table.mu.Lock()
			defer l.table.mu.Unlock()
			return float64(f(l.table))
		}
	}
	reg.MustRegister(refused, bytes, m.failures, m.banned, m.keysTold, m.keysUntold,
		gauge("bans", "Bans in force, as this process knows them.", func() float64 { return float64(l.bans.active(l.now())) }),
		gauge("keys", "Clients and accounts that are counted.", inTable(func(t *table) int { return len(t.keys) })),
		gauge("busy_keys", "Clients and accounts that other processes are told of.", inTable(func(t *table) int { return len(t.busy) })),
		gauge("peers", "Other processes that were heard lately.", inTable(func(t *table) int { return len(t.peers) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "mailfarm_limits_keys_forgotten_total", Help: "Keys dropped since there were too many."},
			inTable(func(t *table) int { return int(t.evicted) })),
	)
	return m
}
