package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
)

// The handler that docs/handlers.md describes, built, installed and configured as there.
func TestTheExampleOfAHandlerWorks(t *testing.T) {
	cfg := config(t, []string{"shout"})
	build := exec.Command("go", "build", "-o", filepath.Join(cfg.Dir, "shout"), "../../sdk/example/shout")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cfg.CheckOwner = true
	cfg.Plugins = map[string]map[string]any{"shout": {"most": 60}}
	h := start(t, cfg)
	r, err := h.Run(t.Context(), post(t, "READ This"))
	if err != nil || r.Verdict != sdk.Hold("shouting", "62% of the subject's letters are capitals.") {
		t.Errorf("result %+v, error %v", r, err)
	}
	p := post(t, "hello")
	if _, err := h.Run(t.Context(), p); err != nil || !strings.Contains(text(t, p), "X-Volume: 0\r\n") {
		t.Errorf("message %q, error %v", text(t, p), err)
	}
}
