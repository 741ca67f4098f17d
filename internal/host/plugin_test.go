package host

import (
	"errors"
	"testing"
	"time"
)

func TestLossesAreCountedWhileTheyAreRecent(t *testing.T) {
	s := &supervised{}
	for range 2 * maxLosses {
		s.lose(errors.New("out of paper"))
	}
	now := time.Now()
	if n := s.losses.lately(now); n != maxLosses || s.losses.why == nil {
		t.Errorf("%d losses are remembered, the last because of %v", n, s.losses.why)
	}
	if n := s.losses.lately(now.Add(Lately)); n != 0 {
		t.Errorf("%d losses are recent still", n)
	}
}
