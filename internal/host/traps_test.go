package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

// The traps of running other people's programs, each as a real process, while posts of
// another list go through the same plugin. doc.go has the table.

// beNth crashes at every fifth post.
func beNth() {
	var n atomic.Int64
	sdk.Serve("nth", "1.0", stage("nth", func(context.Context, *sdk.Post) (sdk.Verdict, error) {
		if n.Add(1) == 5 {
			os.Exit(5)
		}
		return sdk.Accept, nil
	}))
}

// beRunaway starts a process that leaves its group, and so escapes it, with its pipes.
func beRunaway() {
	cmd := exec.Command("/bin/sleep", "600")
	cmd.Stdout, cmd.Stderr = os.NewFile(1, "stdout"), os.NewFile(2, "stderr")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	note(fmt.Sprintf(".child-%d", cmd.Process.Pid))
	sdk.Serve("runaway", "1.0", stage("runaway", wild))
}

// beBabble shakes hands, and then does not speak gRPC.
func beBabble() {
	l, err := net.Listen("unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "babble"))
	if err != nil {
		panic(err)
	}
	fmt.Printf("1|1|unix|%s|grpc\n", l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(strings.Repeat("220 babble ESMTP\r\n", 100)))
		_ = conn.Close()
	}
}

func TestTroubleOfOneListIsNotThatOfAnother(t *testing.T) {
	cases := []struct {
		name, animal string
		stages       []string
		trouble      func(*testing.T, *Host)
	}{
		{"a post crashes the plugin", "wild", []string{"wild"}, func(t *testing.T, h *Host) {
			for range 2 {
				fails(t, h, "exit", "the plugin died: exit status 7")
			}
			restarted(t, h, 2)
		}},
		{"it crashes at every fifth post", "nth", []string{"nth"}, func(t *testing.T, h *Host) { restarted(t, h, 3) }},
		{"a post hangs", "wild", []string{"wild"}, func(t *testing.T, h *Host) {
			fails(t, h, "hang", "no answer within 2s")
			restarted(t, h, 1)
		}},
		{"it leaks memory", "eater", []string{"wild"}, func(t *testing.T, h *Host) {
			eventually(t, "it dies of its leak", func() bool {
				if err := run(t, h, "leak"); err != nil {
					t.Log(err)
				}
				return bad(h).Restarts > 0
			})
		}},
		{"it floods its log", "flood", []string{"flood"}, func(t *testing.T, h *Host) {
			for range 50 {
				if err := run(t, h, "hello"); err != nil {
					t.Error(err)
				}
			}
		}},
		{"it answers garbage", "nonsense", []string{"n1", "n2"}, func(t *testing.T, h *Host) {
			fails(t, h, "a reply of forty megabytes", "larger than max")
			fails(t, h, "a result that is nothing", "invalid reply")
		}},
		{"its child holds its pipes", "parent", []string{"parent"}, func(t *testing.T, h *Host) {
			fails(t, h, "exit", "exit status 7")
			restarted(t, h, 1)
		}},
		{"its child holds its pipes and left its group", "runaway", []string{"runaway"}, func(t *testing.T, h *Host) {
			fails(t, h, "exit", "exit status 7")
			restarted(t, h, 1)
		}},
		{"it is stopped by a signal", "wild", []string{"wild"}, func(t *testing.T, h *Host) {
			first := bad(h).PID
			if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			restarted(t, h, 1)
			eventually(t, "the stopped process is gone", func() bool { return !alive(first) })
		}},
		{"it is stopped by a signal, with posts at it", "wild", []string{"wild"}, func(t *testing.T, h *Host) {
			atIt := make(chan error, 1)
			go func() { atIt <- run(t, h, "pause") }()
			eventually(t, "the post is under way", func() bool { return running(h) > 0 })
			if err := syscall.Kill(bad(h).PID, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := <-atIt; err != nil {
				t.Errorf("the post that was there: %v", err)
			}
			restarted(t, h, 1)
		}},
		{"it is killed", "wild", []string{"wild"}, func(t *testing.T, h *Host) {
			if err := syscall.Kill(bad(h).PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			restarted(t, h, 1)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := impatient(t, append(c.stages, "a"))
			if c.animal == "eater" { // it has a stage a itself: the limit is too low for this program with a race detector
				buildEater(t, &cfg)
			} else {
				addAnimal(t, cfg.Dir, "good")
				addAnimal(t, cfg.Dir, c.animal)
			}
			t.Cleanup(func() {
				for _, pid := range children(t, cfg.Dir) {
					if c.animal == "runaway" { // nothing but a control group holds such a one
						_ = syscall.Kill(pid, syscall.SIGKILL)
					} else if alive(pid) {
						t.Errorf("child %d is left", pid)
					}
				}
			})
			h := start(t, cfg)
			n := beside(t, h)
			eventually(t, "the other list's posts go through", func() bool { return n.posts.Load() > 2 })
			c.trouble(t, h)
			after := n.posts.Load()
			eventually(t, "they do so after it", func() bool { return n.posts.Load() > after+2 })
			n.stop()
			if strings.Contains(c.name, "by a signal") && n.charged.Load() > 0 {
				t.Errorf("%d tries were charged to posts that had no part in it", n.charged.Load())
			}
			t.Logf("%d posts of the other list in %d tries, %d of them when the plugin was down, the slowest %s",
				n.posts.Load(), n.tries.Load(), n.down.Load(), time.Duration(n.slowest.Load()))
			closeFast(t, h, cfg.Dir)
		})
	}
}

func TestAReloadThatFailsDisturbsNobody(t *testing.T) {
	for animal, want := range map[string]string{
		"exits": "exit status 3", "old": "incompatible API version", "slow": "not ready after", "silent": "not ready after",
		"babble": "describe: rpc error: code = Unavailable", "netrpc": `unsupported plugin protocol "netrpc"`, "stranger": "Unrecognized remote plugin message",
	} {
		t.Run(animal, func(t *testing.T) {
			cfg := impatient(t, []string{"wild", "a"}, "good", "wild")
			h := start(t, cfg)
			first := bad(h).PID
			n := beside(t, h)
			addAnimal(t, cfg.Dir, animal)
			next := cfg
			next.Stages = append([]string{animal}, cfg.Stages...)
			if want == "not ready after" {
				next.timing.start = 500 * time.Millisecond
			}
			if err := h.Reload(t.Context(), next); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), animal) {
				t.Errorf("reload: %v, want %q", err, want)
			}
			if got := len(processes(t, cfg.Dir)); got != 2 || bad(h).PID != first {
				t.Errorf("%d processes, want the 2 of before; pid %d, before %d", got, bad(h).PID, first)
			}
			n.stop()
			if n.posts.Load() == 0 || n.posts.Load() != n.tries.Load() {
				t.Errorf("%d posts in %d tries", n.posts.Load(), n.tries.Load())
			}
			closeFast(t, h, cfg.Dir)
		})
	}
}

func TestAProgramReplacedOnDiskServesUntilItEnds(t *testing.T) {
	cfg := impatient(t, []string{"wild", "a"}, "good", "wild")
	h := start(t, cfg)
	first := bad(h).PID
	n := beside(t, h)
	broken := filepath.Join(cfg.Dir, ".broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho half a program >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(broken, filepath.Join(cfg.Dir, "wild")); err != nil {
		t.Fatal(err)
	}
	before := n.posts.Load()
	eventually(t, "the old process goes on", func() bool { return n.posts.Load() > before+5 })
	if bad(h).PID != first {
		t.Errorf("pid %d, before %d", bad(h).PID, first)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the error says what is wrong with the new one", func() bool {
		err := run(t, h, "hello")
		return errors.Is(err, ErrDown) && strings.Contains(err.Error(), "exit status 1: half a program")
	})
	addAnimal(t, cfg.Dir, "wild")
	restarted(t, h, 1) // without a reload
	before = n.posts.Load()
	eventually(t, "posts go through again", func() bool { return n.posts.Load() > before+5 })
	n.stop()
	closeFast(t, h, cfg.Dir)
}

func TestClosingDoesNotWaitForAStoppedProcess(t *testing.T) {
	for name, cond := range map[string]struct {
		animal  string
		subject string
	}{
		"that is idle":                       {"wild", ""},
		"that is at a post":                  {"wild", "pause"},
		"that holds a child":                 {"parent", ""},
		"whose child escapes with its pipes": {"runaway", ""},
		"that is not built on the SDK":       {"deaf", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := impatient(t, []string{cond.animal}, cond.animal)
			cfg.timing.health = time.Minute // so that Close finds it, not the health check
			h := start(t, cfg)
			t.Cleanup(func() {
				for _, pid := range children(t, cfg.Dir) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			})
			done := make(chan error, 1)
			if cond.subject != "" {
				go func() { done <- run(t, h, cond.subject) }()
				eventually(t, "the post is under way", func() bool { return running(h) == 1 })
			}
			if err := syscall.Kill(pid(h), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			closeFast(t, h, cfg.Dir)
			if cond.subject != "" {
				if err := <-done; err != nil {
					t.Errorf("the post that was there, and may end with another process: %v", err)
				}
			}
			if kids := children(t, cfg.Dir); cond.animal == "parent" && alive(kids[0]) {
				t.Error("its child is left")
			}
		})
	}
}

// gRPC's own limit is 4 MiB on the side that serves.
func TestARequestOfFiveMegabytesArrives(t *testing.T) {
	h := start(t, config(t, []string{"a"}, "good"))
	p := post(t, "hello")
	p.List.Settings["long"] = strings.Repeat("x", 5<<20)
	if _, err := h.Run(t.Context(), p); err != nil {
		t.Fatalf("%s", cut(err.Error(), 300))
	}
	if p.Notes["last"] != "a" {
		t.Errorf("notes %v", p.Notes)
	}
}

// That gRPC still says it in these words: the guess at a text must not go stale.
func TestAConnectionClosedByThisSideCountsAsADeath(t *testing.T) {
	conn, err := grpc.NewClient("unix:/nowhere", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithChainUnaryInterceptor(lostIsUnavailable))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := proto.NewPluginClient(conn).Health(t.Context(), &proto.HealthRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the error is %v", err)
	}
}
