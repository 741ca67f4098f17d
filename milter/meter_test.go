package milter

import (
	"testing"

	gomilter "github.com/emersion/go-milter"
)

func TestWhatAResponseMeans(t *testing.T) {
	for want, r := range map[string]gomilter.Response{
		"pass": gomilter.RespContinue, "tempfail": refuse(451, "4.3.0", "later"), "reject": refuse(550, "5.7.1", "no"),
	} {
		if got := verdictOf(r); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
