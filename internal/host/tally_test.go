package host

import (
	"testing"
	"time"
)

func TestEveryTimeIsInTheBucketThatBoundsItWithinAQuarter(t *testing.T) {
	for took := 4 * time.Microsecond; took < time.Hour; took += took/7 + 1 {
		b := below(bucket(took))
		if whole := took.Truncate(time.Microsecond); b <= whole || float64(b) > 1.25*float64(whole) {
			t.Fatalf("%v is counted below %v", took, b)
		}
	}
	for _, took := range []time.Duration{-time.Second, 0, 1<<63 - 1} {
		if n := bucket(took); n < 0 || n >= buckets {
			t.Errorf("%v is in bucket %d", took, n)
		}
	}
}

func TestPercentilesTellTheOrdinaryFromTheSlow(t *testing.T) {
	var all tally
	if p := all.percentile(50); p != 0 {
		t.Errorf("of no calls: %v", p)
	}
	for i := range 100 {
		took := time.Millisecond
		if i >= 98 {
			took = time.Second
		}
		all.add(took, i == 99)
	}
	if p := all.percentile(50); p < time.Millisecond || p > 1250*time.Microsecond {
		t.Errorf("p50 is %v", p)
	}
	if p := all.percentile(99); p < time.Second || p > 1250*time.Millisecond {
		t.Errorf("p99 is %v", p)
	}
	if calls, errs := all.calls.Load(), all.errors.Load(); calls != 100 || errs != 1 {
		t.Errorf("%d calls, %d errors", calls, errs)
	}
}

func TestCallsAndErrorsAreCountedOverRestartsAndReloads(t *testing.T) {
	cfg := config(t, []string{"wild", "after"}, "wild")
	h := start(t, cfg)
	if p := h.Plugins()[0]; !p.Healthy || p.Calls != 0 || p.P99 != 0 {
		t.Errorf("before the first call: %+v", p)
	}
	for subject, fails := range map[string]bool{"hello": false, "error": true, "no verdict": true, "crash": true} {
		if err := run(t, h, subject); err != nil != fails {
			t.Errorf("%s: %v", subject, err)
		}
	}
	if err := h.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	p := h.Plugins()[0]
	if p.Calls != 4 || p.Errors != 3 || p.P50 <= 0 || p.P99 < p.P50 {
		t.Errorf("%+v", p)
	}
	if have, want := h.Totals(), (Totals{Posts: 4, Calls: 4}); have != want {
		t.Errorf("%+v, want %+v", have, want)
	}
}
