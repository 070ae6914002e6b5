package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// entryJSON is a message with its recipients as verbs print it.
type entryJSON struct {
	QueueID     string          `json:"queue_id"`
	Accepted    time.Time       `json:"accepted"`
	ReversePath string          `json:"reverse_path"`
	MessageID   string          `json:"message_id,omitempty"`
	Subject     string          `json:"subject,omitempty"`
	Size        int64           `json:"size"`
	Kind        string          `json:"kind"`
	Parent      string          `json:"parent,omitempty"`
	Client      string          `json:"client,omitempty"`
	Helo        string          `json:"helo,omitempty"`
	Protocol    string          `json:"protocol,omitempty"`
	TLS         string          `json:"tls,omitempty"`
	Account     string          `json:"account,omitempty"`
	Verdict     string          `json:"verdict,omitempty"`
	Score       float64         `json:"score"`
	Reasons     []string        `json:"reasons,omitempty"`
	Recipients  []recipientJSON `json:"recipients"`
}

type recipientJSON struct {
	Number      uint32     `json:"number"`
	ForwardPath string     `json:"forward_path"`
	Original    string     `json:"original,omitempty"`
	State       string     `json:"state"`
	Attempts    uint32     `json:"attempts"`
	Relay       string     `json:"relay,omitempty"`
	LastReply   string     `json:"last_reply,omitempty"`
	Changed     time.Time  `json:"changed"`
	Due         *time.Time `json:"due,omitempty"`
}

func newEntryJSON(e *storev1.LedgerEntry) entryJSON {
	env, v := e.Message.Envelope, e.Message.Verdict
	out := entryJSON{
		QueueID: queueID(e.Message.QueueId), Accepted: time.Unix(0, env.AcceptedNs).UTC(), ReversePath: env.ReversePath, MessageID: env.MessageId,
		Subject: env.Subject, Size: env.Size, Kind: lowerName(env.Kind.String(), "KIND_"), Client: env.Client.GetAddress(), Helo: env.Client.GetHelo(),
		Protocol: env.Client.GetProtocol(), TLS: env.Client.GetTlsVersion(), Account: env.Client.GetAccount(),
		Verdict: lowerName(v.GetAction().String(), "ACTION_"), Score: v.GetScore(), Recipients: []recipientJSON{},
	}
	if len(env.Parent) > 0 {
		out.Parent = queueID(env.Parent)
	}
	for _, r := range v.GetReasons() {
		out.Reasons = append(out.Reasons, reason(r))
	}
	for _, r := range e.Recipients {
		row := recipientJSON{
			Number: r.Number, ForwardPath: r.ForwardPath, Original: r.Original, State: stateName(r.State), Attempts: r.Attempts,
			Relay: r.Relay, LastReply: r.LastReply, Changed: time.Unix(0, r.ChangedNs).UTC(),
		}
		if r.State == storev1.State_STATE_QUEUED {
			t := time.Unix(0, r.DueNs).UTC()
			row.Due = &t
		}
		out.Recipients = append(out.Recipients, row)
	}
	return out
}

func reason(r *mailv1.Reason) string {
	if r.Text == "" {
		return fmt.Sprintf("%s (%+.1f)", r.Name, r.Score)
	}
	return fmt.Sprintf("%s (%+.1f): %s", r.Name, r.Score, r.Text)
}

// lowerName turns STATE_QUEUED into queued; the zero value into nothing.
func lowerName(name, prefix string) string {
	name = strings.ToLower(strings.TrimPrefix(name, prefix))
	if name == "unspecified" {
		return ""
	}
	return name
}

func printEntriesJSON(w io.Writer, entries []*storev1.LedgerEntry) error {
	all := make([]entryJSON, 0, len(entries))
	for _, e := range entries {
		all = append(all, newEntryJSON(e))
	}
	return printJSON(w, all)
}

// printEntry tells the life of one message in the order in which it happened.
func printEntry(w io.Writer, e *storev1.LedgerEntry) error {
	env := e.Message.Envelope
	fmt.Fprintf(w, "%s\n", queueID(e.Message.QueueId))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-11s %s\n", name, value)
		}
	}
	line("from", null(env.ReversePath))
	line("subject", env.Subject)
	line("message-id", env.MessageId)
	line("size", fmt.Sprintf("%d octets", env.Size))
	if len(env.Parent) > 0 {
		line("because of", queueID(env.Parent))
	}
	line("accepted", when(env.AcceptedNs)+handedIn(env.Client))
	if v := e.Message.Verdict; v != nil {
		line("verdict", fmt.Sprintf("%s, score %.1f", lowerName(v.Action.String(), "ACTION_"), v.Score))
		for _, r := range v.Reasons {
			line("", "  "+reason(r))
		}
	}
	for _, r := range e.Recipients {
		to := r.ForwardPath
		if r.Original != "" {
			to += " (by " + r.Original + ")"
		}
		line("to", to)
		what := stateName(r.State)
		if r.State != storev1.State_STATE_QUEUED || r.Attempts > 0 {
			what += " " + when(r.ChangedNs)
		}
		if r.State == storev1.State_STATE_QUEUED && r.Attempts > 0 {
			what += fmt.Sprintf(", %d tries, next %s", r.Attempts, when(r.DueNs))
		}
		if r.Relay != "" {
			what += ", " + r.Relay
		}
		if r.LastReply != "" {
			what += ": " + r.LastReply
		}
		line("", "  "+what)
	}
	return nil
}

func handedIn(c *mailv1.Client) string {
	if c == nil || c.Address == "" {
		return ""
	}
	s := " from " + c.Address
	if c.Helo != "" {
		s += " (" + c.Helo + ")"
	}
	if c.Protocol != "" {
		s += " with " + c.Protocol
	}
	if c.TlsVersion != "" {
		s += " " + c.TlsVersion
	}
	if c.Account != "" {
		s += " as " + c.Account
	}
	return s
}
