package presence

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// perAnswer is how many sessions one message holds: with the longest texts less than a bus takes.
const perAnswer = 400

// Desk answers for the fronts of a process.
type Desk struct {
	process string
	fronts  []func() []Session
}

// NewDesk makes the desk of a process; Add it its fronts before it answers.
func NewDesk(process string) *Desk { return &Desk{process: process} }

// Add lets a front's sessions be asked for.
func (d *Desk) Add(sessions func() []Session) { d.fronts = append(d.fronts, sessions) }

// Answerer is the bus for a Desk.
type Answerer interface {
	AnswerAll(subject string, f func(question []byte) [][]byte) (stop func(), err error)
}

// Run answers on the bus until ctx ends.
func (d *Desk) Run(ctx context.Context, b Answerer) error {
	if len(d.fronts) == 0 {
		<-ctx.Done()
		return nil
	}
	stop, err := b.AnswerAll(bus.SessionsAsk, d.answer)
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}

// answer does what a question asks and packs what there is to tell.
func (d *Desk) answer(question []byte) [][]byte {
	q := &adminv1.SessionsQuestion{}
	if proto.Unmarshal(question, q) != nil || check(q.Text) != nil {
		return nil
	}
	var answers [][]byte
	for _, r := range d.tell(q) {
		if a, err := proto.Marshal(r); err == nil {
			answers = append(answers, a)
		}
	}
	return answers
}

// tell finds the sessions of a question and ends them where that is asked for. There is at least one answer.
func (d *Desk) tell(q *adminv1.SessionsQuestion) []*adminv1.SessionsListResponse {
	end := q.End != adminv1.EndReason_END_REASON_UNSPECIFIED
	var shown []*adminv1.ClientSession
	for _, sessions := range d.fronts {
		for _, s := range sessions() {
			card := s.Card()
			if q.Session != "" && q.Session != card.id {
				continue
			}
			if account := card.account(); len(q.Accounts) > 0 && !slices.Contains(q.Accounts, account) || end && account == 0 {
				continue
			}
			shown = append(shown, card.Show())
			if end && len(q.Accounts) > 0 {
				s.Kick(Farewell{Reason: q.End, Text: q.Text})
			}
		}
	}
	answers := []*adminv1.SessionsListResponse{{Process: d.process}}
	for some := range slices.Chunk(shown, perAnswer) {
		if answers[len(answers)-1].Sessions != nil {
			answers = append(answers, &adminv1.SessionsListResponse{Process: d.process})
		}
		answers[len(answers)-1].Sessions = some
	}
	return answers
}
