package pop3

import (
	"context"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// counted is a store that tells how many emails it was asked for, call by call.
type counted struct {
	Mailboxes
	asked []int
}

type onePage struct {
	grpc.ServerStreamingClient[storev1.EmailsResponse]
	page *storev1.EmailsResponse
}

func (p *onePage) Recv() (*storev1.EmailsResponse, error) {
	if p.page == nil {
		return nil, io.EOF
	}
	page := p.page
	p.page = nil
	return page, nil
}

func (c *counted) Emails(_ context.Context, in *storev1.EmailsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.EmailsResponse], error) {
	c.asked = append(c.asked, len(in.GetEmails()))
	page := &storev1.EmailsResponse{}
	for _, id := range in.GetEmails() {
		page.Emails = append(page.Emails, &storev1.Email{Id: id})
	}
	return &onePage{page: page}, nil
}

// TestReadAhead: messages fetched in order are asked about many at a time, others one by one.
func TestReadAhead(t *testing.T) {
	order := func(first, n, step int) (out []int) {
		for i := range n {
			out = append(out, first+i*step)
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		numbers []int
		asked   []int
		size    int64 // of each message
	}{
		{"all in order", order(1, 200, 1), []int{64, 64, 64, 8}, 0},
		{"the newest first", order(200, 4, -1), []int{1, 1, 1, 1}, 0},
		{"here and there", []int{50, 10, 190, 3}, []int{1, 1, 1, 1}, 0},
		{"in order from the middle", order(100, 66, 1), []int{1, 64, 36}, 0},
		{"TOP and then RETR", []int{70, 70, 9, 9}, []int{1, 1}, 0},
		{"in order, 20 KiB each", order(1, 7, 1), []int{3, 3, 3}, 20 << 10},
		{"in order, 100 KiB each", order(1, 3, 1), []int{1, 1, 1}, 100 << 10},
	} {
		store := &counted{}
		d := &maildrop{svc: &Service{deps: Deps{Mailboxes: store}}, messages: make([]message, 200)}
		for i := range d.messages {
			d.messages[i].email, d.messages[i].size = mailbox.EmailID(i+1), tt.size
		}
		for _, n := range tt.numbers {
			e, err := d.email(t.Context(), n)
			if err != nil || e.GetId() != uint64(n) {
				t.Fatalf("%s: message %d: got %v, %v", tt.name, n, e, err)
			}
		}
		if !slices.Equal(store.asked, tt.asked) {
			t.Errorf("%s: asked for %v, want %v", tt.name, store.asked, tt.asked)
		}
	}
}
