package join_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/mailfarm/mailfarm/internal/join"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// childEnv holds what a child process is to join.
const childEnv = "MAILFARM_JOIN_CHILD"

type orders struct {
	Place  place
	Folder string
	// Steps are how many it lives.
	Steps int64
}

// child joins until it dies.
func child() int {
	var o orders
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	var n atomic.Int64
	_, err := join.Run(context.Background(), o.Place.config(o.Folder), join.Deps{Fault: func(string) error {
		if n.Add(1) == o.Steps {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	return 0
}

func TestKill(t *testing.T) {
	s, p := newSite(t, 4, 15), newPlace(t, servers.S3(t))
	random := rand.New(rand.NewPCG(3, 9))
	killed := 0
	for {
		o, err := json.Marshal(orders{Place: p, Folder: s.folder, Steps: 1 + random.Int64N(60)})
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(os.Environ(), childEnv+"="+string(o))
		var out bytes.Buffer
		c.Stderr = &out
		err = c.Run()
		if err == nil {
			break
		}
		if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%v: %s", err, &out)
		}
		if killed++; killed > 100 {
			t.Fatal("it never ends")
		}
	}
	if killed < 3 {
		t.Errorf("killed %d times only", killed)
	}
	s.check(t, p)
}
