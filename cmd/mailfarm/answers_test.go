package main

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestAnswers(t *testing.T) {
	broken := errors.New("cut off")
	for _, tc := range []struct {
		name  string
		end   error
		until int // answers after which the caller has enough
		want  string
	}{
		{"to the end", io.EOF, 9, "0 1 2 "},
		{"an end that is wrapped", fmt.Errorf("stream: %w", io.EOF), 9, "0 1 2 "},
		{"cut off", broken, 9, "0 1 2 cut off "},
		{"enough", broken, 1, "0 1 "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, asked := 0, 0
			recv := func() (*int, error) {
				asked++
				if n == 3 {
					return nil, tc.end
				}
				answer := n
				n++
				return &answer, nil
			}
			got := ""
			for answer, err := range answers(recv) {
				if err != nil {
					got += err.Error() + " "
					continue
				}
				got += fmt.Sprint(*answer, " ")
				if *answer == tc.until {
					break
				}
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if most := min(4, tc.until+1); asked != most {
				t.Errorf("asked %d times, want %d", asked, most)
			}
		})
	}
}
