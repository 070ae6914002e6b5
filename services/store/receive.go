package store

import (
	"context"
	"io"
)

// receiver is the half of a stream that requests come from.
type receiver[Req any] interface{ Recv() (*Req, error) }

// receive gives each request of a stream to take, until the stream or commits, the context of what is made durable beside it,
// ends.
func receive[Req any](commits context.Context, stream receiver[Req], take func(*Req) error) error {
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = commits.Err() // a commit failed: Wait tells why
		}
		if err == nil {
			err = take(req)
		}
		if err != nil {
			return err
		}
	}
}
