package host

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// beHost is this test program as an mlist: it starts the plugins that it finds, prints
// their pids, and waits for its end.
func beHost() {
	dir := os.Getenv("MLIST_TEST_HOST")
	h, err := Start(context.Background(), Config{Dir: dir, RunDir: os.Getenv("MLIST_TEST_RUN"), Stages: []string{"a", "parent", "n1", "wild"},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), timing: hasty})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, p := range h.Plugins() {
		fmt.Println(p.Name, p.PID)
	}
	fmt.Println("ready")
	select {}
}

// children returns the pids that the zoo's parents noted.
func children(t testing.TB, dir string) []int {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, ".child-*"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range paths {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(p), ".child-%d", &pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// startHost starts a host in a process of its own, and returns its pid and those of its
// plugins.
func startHost(t *testing.T, dir, run string) (cmd *exec.Cmd, pids map[string]int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self)
	cmd.Env = append(os.Environ(), "MLIST_TEST_HOST="+dir, "MLIST_TEST_RUN="+run)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	pids = map[string]int{}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		var name string
		var pid int
		if _, err := fmt.Sscan(lines.Text(), &name, &pid); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		pids[name] = pid
	}
	return cmd, pids
}

// shortDir is a temporary directory whose path has room for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what is left does no harm
	return dir
}

func TestNoPluginOutlivesAHostThatIsKilled(t *testing.T) {
	dir, run := pluginDir(t, "good", "wild", "parent", "nonsense"), shortDir(t)
	// The deaf one ignores SIGTERM and knows no lifeline: only a host that lives can end
	// it, so it is not here. See TestAPluginThatDoesNotWantToEndIsMadeTo.
	cmd, pids := startHost(t, dir, run)
	if len(pids) != 4 {
		t.Fatalf("plugins %v", pids)
	}
	pids["grandchild"] = children(t, dir)[0]
	for name, pid := range pids {
		if !alive(pid) {
			t.Fatalf("%s is not even alive", name)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	eventually(t, "all plugins are gone", func() bool {
		for _, pid := range pids {
			if alive(pid) {
				return false
			}
		}
		return true
	})
	left, err := os.ReadDir(run)
	if err != nil || len(left) != 1 || !strings.HasPrefix(left[0].Name(), "h-") {
		t.Fatalf("the killed host left %v %v in its run directory; the next check would prove nothing", left, err)
	}
	cfg := config(t, []string{"a"}, "good")
	cfg.RunDir = run
	start(t, cfg) // checks in the end that the run directory is empty
}
