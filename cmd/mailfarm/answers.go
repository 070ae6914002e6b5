package main

import (
	"errors"
	"io"
	"iter"
)

// answers ranges over what a call's stream brings, to its end or with its error last.
func answers[T any](recv func() (*T, error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for {
			answer, err := recv()
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(nil, err)
				return
			case !yield(answer, nil):
				return
			}
		}
	}
}
