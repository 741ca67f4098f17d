package host

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProgramsAreListedWithWhatIsWrongWithThem(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"good": 0o755, "open": 0o777, "README.md": 0o644} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	pins := map[string]string{"good": hex.EncodeToString(sha256.New().Sum(nil))} // of an empty file
	for _, check := range []bool{true, false} {
		programs, err := Programs(dir, check, pins)
		if err != nil || len(programs) != 3 {
			t.Fatalf("check %t: %v %v", check, programs, err)
		}
		if p := programs[0]; filepath.Base(p.Path) != "good" || p.Refused != nil {
			t.Errorf("check %t: %+v", check, p)
		}
		if p := programs[1]; filepath.Base(p.Path) != "open" || (p.Refused != nil) != check {
			t.Errorf("check %t: %+v", check, p)
		}
		if p := programs[2]; p.Refused == nil || !strings.Contains(p.Refused.Error(), "gone") {
			t.Errorf("check %t: %+v", check, p)
		}
	}
	pins["open"] = strings.Repeat("0", 64)
	if programs, err := Programs(dir, false, pins); err != nil || programs[0].Refused != nil || programs[1].Refused == nil || !strings.Contains(programs[1].Refused.Error(), "pins it to 000") {
		t.Errorf("with pins: %v, %v", programs, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if programs, err := Programs(dir, true, nil); err == nil || !strings.Contains(err.Error(), "others can write it") || len(programs) != 3 {
		t.Errorf("%v %v", programs, err)
	}
}

func TestAProgramIsRunAlone(t *testing.T) {
	from := pluginDir(t, "good", "exits")
	dir, remove, err := Alone(filepath.Join(from, "good"))
	if err != nil {
		t.Fatal(err)
	}
	programs, err := Programs(dir, true, nil)
	if err != nil || len(programs) != 1 || programs[0].Refused != nil {
		t.Errorf("%v %v", programs, err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(from, "good")); err != nil {
		t.Errorf("removing the directory removed the program: %v", err)
	}
}
