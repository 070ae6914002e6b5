package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// StatusAsk is where processes are asked how they are.
	StatusAsk = "farm.status"
	// SessionsAsk is where fronts are asked for their clients, and told to end some: adminv1.SessionsQuestion.
	SessionsAsk = "farm.sessions"
	// maxAnswers bounds what one question gathers.
	maxAnswers = 10_000
)

// Answer answers each question on subject by what f gives, until stop is called.
func (c *Conn) Answer(subject string, f func() []byte) (stop func(), err error) {
	return c.AnswerAll(subject, func([]byte) [][]byte { return [][]byte{f()} })
}

// AnswerAll hands each question on subject to f, with or without somebody who waits, and answers with all that it gives, until
// stop is called.
func (c *Conn) AnswerAll(subject string, f func(question []byte) [][]byte) (stop func(), err error) {
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) {
		go func() {
			for _, a := range f(m.Data) {
				if m.Reply != "" {
					m.Respond(a) // who does not hear it has asked in vain
				}
			}
		}()
	})
	if err != nil {
		return nil, away(fmt.Errorf("answer %s: %w", subject, err))
	}
	return func() { sub.Unsubscribe() }, nil
}

// Ask asks all who answer on subject and gathers what comes until ctx ends, or until nothing came for the time of quiet.
func (c *Conn) Ask(ctx context.Context, subject string, quiet time.Duration) ([][]byte, error) {
	var all [][]byte
	err := c.AskEach(ctx, subject, nil, quiet, func(answer []byte) error {
		all = append(all, answer)
		return nil
	})
	return all, err
}

// AskEach is Ask with a question, and hands on each answer as it comes; an error of each ends it.
func (c *Conn) AskEach(ctx context.Context, subject string, question []byte, quiet time.Duration, each func(answer []byte) error) error {
	inbox := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return away(fmt.Errorf("ask %s: %w", subject, err))
	}
	defer sub.Unsubscribe()
	if err := c.nc.PublishRequest(subject, inbox, question); err != nil {
		return away(fmt.Errorf("ask %s: %w", subject, err))
	}
	for range maxAnswers {
		wait, cancel := context.WithTimeout(ctx, quiet)
		m, err := sub.NextMsgWithContext(wait)
		cancel()
		if err != nil {
			break // nobody else answers
		}
		if len(m.Data) == 0 {
			continue
		}
		if err := each(m.Data); err != nil {
			return err
		}
	}
	return nil
}

// Lag is work of one partition that waits, and that processes have in hand.
type Lag struct {
	Subject         Subject
	Partition       int
	Waiting, InHand uint64
}

// Lags tells of all partitions of all work subjects.
func (c *Conn) Lags(ctx context.Context) ([]Lag, error) {
	var all []Lag
	for _, s := range WorkSubjects {
		for p := range c.partitions().served {
			cons, err := c.js.Consumer(ctx, streamName(s), consumerName(s, p))
			if err != nil {
				return nil, away(fmt.Errorf("look up the consumer of %s: %w", partitionSubject(s, p), err))
			}
			i := cons.CachedInfo()
			all = append(all, Lag{Subject: s, Partition: p, Waiting: i.NumPending, InHand: uint64(i.NumAckPending)})
		}
	}
	return all, nil
}
