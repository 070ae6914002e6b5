package envelope_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
)

func TestQueueIDReadsBackAndSorts(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_123)
	a, b := envelope.NewQueueID(now), envelope.NewQueueID(now.Add(time.Millisecond))
	if a.String() >= b.String() {
		t.Errorf("%s does not sort before the later %s", a, b)
	}
	if got, err := envelope.ParseQueueID(a.String()); err != nil || got != a || !got.Time().Equal(now) {
		t.Errorf("%s reads back as %v of %v, %v", a, got, got.Time(), err)
	}
	for _, bad := range []string{"", "06", a.String() + "0", "!" + a.String()[1:]} {
		if _, err := envelope.ParseQueueID(bad); err == nil {
			t.Errorf("%q was read as a queue id", bad)
		}
	}
}

// TestErrorShowsAnID: whoever is told what a queue id looks like can trust the example.
func TestErrorShowsAnID(t *testing.T) {
	example := regexp.MustCompile(`[0-9A-Z]{26}`).FindString(envelope.ErrQueueID.Error())
	if _, err := envelope.ParseQueueID(example); err != nil {
		t.Errorf("the example %q is no queue id", example)
	}
}

func TestChildIDDependsOnAllItIsMadeOf(t *testing.T) {
	parent := envelope.NewQueueID(time.Now())
	ids := map[envelope.QueueID]bool{}
	for number := range uint32(3) {
		for ordinal := range uint32(3) {
			ids[envelope.ChildID(parent, number, ordinal)] = true
		}
	}
	if len(ids) != 9 {
		t.Errorf("got %d different ids of 9", len(ids))
	}
	if again := envelope.ChildID(parent, 1, 2); !ids[again] {
		t.Errorf("the second time it is another: %s", again)
	}
}
