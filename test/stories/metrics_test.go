package stories

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// metricsSocket is where the metrics of an installation are read.
func metricsSocket(dir string) string { return filepath.Join(dir, "run", "metrics.sock") }

// metric reads one metric of mlist's, which is 0 before it is there. name may have labels,
// as they stand on the page.
func metric(t *testing.T, name string) float64 {
	t.Helper()
	v, err := readMetric(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// readMetric is metric, for other goroutines than the test's.
func readMetric(name string) (float64, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", metricsSocket(mlist.Dir))
	}}}
	res, err := client.Get("http://mlist/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			}
			return v, nil
		}
	}
	return 0, nil
}
