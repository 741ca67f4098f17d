package host

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
)

// limitOf reads a limit of a process, soft and hard, as the kernel holds it.
func limitOf(t *testing.T, pid int, name string) string {
	t.Helper()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + ` +(\S+) +(\S+)`).FindStringSubmatch(string(limits))
	if m == nil {
		t.Fatalf("no %q in\n%s", name, limits)
	}
	return m[1] + " " + m[2]
}

func TestTheKernelHoldsAPluginToItsLimits(t *testing.T) {
	for _, c := range []struct {
		memory int64
		data   string
	}{
		{1 << 30, fmt.Sprint(1<<30+reserve, " ", 1<<30+reserve)}, // a race detector wants much
		{0, limitOf(t, os.Getpid(), "Max data size")},            // no limit is that of mlist itself
	} {
		cfg := config(t, []string{"wild"}, "wild")
		cfg.Memory = c.memory
		h := start(t, cfg)
		check := func() {
			t.Helper()
			for name, want := range map[string]string{"Max data size": c.data, "Max open files": fmt.Sprint(openFiles, " ", openFiles), "Max core file size": "0 0"} {
				if got := limitOf(t, pid(h), name); got != want {
					t.Errorf("memory %d: %s is %s, want %s", c.memory, name, got, want)
				}
			}
		}
		check()
		if err := run(t, h, "exit"); err == nil {
			t.Fatal("it did not exit")
		}
		eventually(t, "it is back", func() bool { p := h.Plugins()[0]; return p.Restarts == 1 && p.PID != 0 })
		check() // the next process as the first
	}
}

func TestAPluginInheritsNothingThatItDoesNotNeed(t *testing.T) {
	for _, secret := range []string{"PGPASSWORD", "MLIST_CONFIG", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "HOME", "CREDENTIALS_DIRECTORY", "LD_PRELOAD_X"} {
		t.Setenv(secret, "hunter2")
	}
	cfg := config(t, []string{"wild"}, "wild")
	cfg.Memory = 1 << 30
	h := start(t, cfg)
	p := post(t, "env")
	if _, err := h.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	may := []string{"PATH", "TZ", "LANG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", sdk.CookieKey, sdk.LifelineKey, sdk.GraceKey,
		"PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", "PLUGIN_MULTIPLEX_GRPC"}
	for _, v := range strings.Split(p.Notes["env"], "\n") {
		if key, _, _ := strings.Cut(v, "="); !slices.Contains(may, key) {
			t.Errorf("it has %s", v)
		}
	}
}
