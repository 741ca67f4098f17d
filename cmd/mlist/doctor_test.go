package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/mailauth"
)

// sound is an installation with a list, in which a doctor finds only that it does not run.
type sound struct {
	dir, plugin string
	*patient
}

func newSound(t *testing.T) *sound {
	t.Helper()
	s := &sound{dir: installed(t, "")}
	plugin, err := os.ReadFile(filepath.Join(plugins(t), "standard"))
	if err != nil {
		t.Fatal(err)
	}
	s.plugin = filepath.Join(s.dir, "plugins", "standard")
	for _, d := range []string{"plugins", "spool", "spool/incoming", "units"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.plugin, plugin[:1000], 0o755); err != nil {
		t.Fatal(err)
	}
	s.configure(t, "")
	command(t, s.dir, "list", "create", "dev@lists.test")
	s.patient = &patient{
		app: &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}, configPath: filepath.Join(s.dir, "mlist.toml")}, path: filepath.Join(s.dir, "mlist.toml"),
		now: time.Now(), units: filepath.Join(s.dir, "units"),
		dns: mailauth.NewFile(map[string][]string{"lists.test": {"v=spf1 mx -all"}, "_dmarc.lists.test": {"v=DMARC1; p=none"}}),
	}
	return s
}

func (s *sound) configure(t *testing.T, more string) {
	t.Helper()
	configure(t, s.dir, fmt.Sprintf("outbound.mta = \"unix:/nowhere\"\npipeline.plugin_dir = %q\npipeline.check_owner = true\n", filepath.Join(s.dir, "plugins"))+more)
}

func TestADoctorNamesTheCauseAndTheCure(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: directories of a test may belong to somebody who could change plugins")
	}
	for _, tt := range []struct {
		mistake string
		make    func(t *testing.T, s *sound)
		want    string // of the cause
		cure    string
	}{
		{"wrong permissions", func(t *testing.T, s *sound) {
			if err := os.Chmod(filepath.Join(s.dir, "spool", "incoming"), 0o777); err != nil {
				t.Fatal(err)
			}
		}, "Everybody may write in ", "chmod o-w"},
		{"an unknown key", func(t *testing.T, s *sound) { s.configure(t, "nonsense = 1\n") }, "nonsense: no such key", "mlist config check"},
		{"the port is taken", func(t *testing.T, s *sound) {
			l, err := net.Listen("unix", filepath.Join(s.dir, "lmtp.sock"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "Another program listens at unix:", "choose another address in lmtpd.listen"},
		{"no hand-back port", func(t *testing.T, s *sound) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l.Close() // nobody is there now
			text, err := os.ReadFile(s.path)
			if err != nil {
				t.Fatal(err)
			}
			text = bytes.Replace(text, []byte("unix:/nowhere"), []byte("smtp://"+l.Addr().String()), 1)
			if err := os.WriteFile(s.path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", "") // whether or not there is a Postfix here
		}, "the hand-back port", "outbound.mta"},
		{"a plugin that others can write", func(t *testing.T, s *sound) {
			if err := os.Chmod(s.plugin, 0o777); err != nil {
				t.Fatal(err)
			}
		}, "A plugin is not started", "chmod go-w"},
		{"the clock is off", func(t *testing.T, s *sound) { s.now = s.now.Add(-24 * time.Hour) }, "The clock is wrong", "chrony"},
		{"an old schema", func(t *testing.T, s *sound) {
			db, err := sql.Open("sqlite", filepath.Join(s.dir, "mlist.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("DELETE FROM schema_version WHERE version_id = (SELECT max(version_id) FROM schema_version)"); err != nil {
				t.Fatal(err)
			}
		}, "older than this mlist's", "Do what it says"},
		{"two outbounds with overlapping segments", func(t *testing.T, s *sound) {
			for _, name := range []string{"0000-8fff", "8000-ffff"} {
				if err := os.WriteFile(filepath.Join(s.units, "mlist-outbound@"+name+".service"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, "want the same segments", "systemctl disable --now"},
		{"no SPF", func(t *testing.T, s *sound) { s.dns = mailauth.NewFile(nil) }, "lists.test has no SPF record", "v=spf1"},
		{"nothing signs", func(*testing.T, *sound) {}, "not signed (DKIM)", "mlist dkim keygen"},
		{"it does not run", func(*testing.T, *sound) {}, "mlist is not running", "systemctl start mlist"},
	} {
		t.Run(tt.mistake, func(t *testing.T) {
			s := newSound(t)
			said := func() string {
				s.found = nil
				var all strings.Builder
				for _, f := range s.examine(t.Context(), "/nonexistent") {
					if f.Cause == "" || f.Cure == "" {
						t.Errorf("half a finding: %+v", f)
					}
					fmt.Fprintf(&all, "%s %s\n", f.Cause, f.Cure)
				}
				return all.String()
			}
			if before := said(); strings.Contains(before, tt.want) && !strings.Contains("no hand-back port nothing signs it does not run", tt.mistake) {
				t.Fatalf("before the mistake: %s", before)
			}
			tt.make(t, s)
			got := said()
			for line := range strings.Lines(got) {
				if strings.Contains(line, tt.want) && strings.Contains(line, tt.cure) {
					return
				}
			}
			t.Errorf("want %q and %q in one finding of:\n%s", tt.want, tt.cure, got)
		})
	}
}

func TestADoctorSeesAFullDisk(t *testing.T) {
	for _, tt := range []struct {
		st   unix.Statfs_t
		want string
	}{
		{unix.Statfs_t{Blocks: 1000, Bavail: 30, Files: 1000, Ffree: 500}, "Only 3 % of the disk"},
		{unix.Statfs_t{Blocks: 1000, Bavail: 500, Files: 1000, Ffree: 20}, "inodes"},
		{unix.Statfs_t{Blocks: 1000, Bavail: 500}, ""},
	} {
		p := &patient{}
		p.full("/var/spool/mlist", &tt.st)
		if got := fmt.Sprint(p.found); tt.want == "" && len(p.found) > 0 || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s", tt.st, got)
		}
	}
}

func TestADoctorSeesAServiceInAChroot(t *testing.T) {
	if _, err := exec.LookPath("postconf"); err != nil {
		t.Skip("no Postfix here")
	}
	s := newSound(t)
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour) // Postfix waits until a file is a second old
	for name, text := range map[string]string{
		"main.cf":   "compatibility_level = 3.6\nconfig_directory = " + dir + "\nrelay_domains = lists.test\n",
		"master.cf": "smtp inet n - y - - smtpd\nmlist unix - - y - 10 lmtp\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	got := fmt.Sprint(s.examine(context.Background(), dir))
	for _, want := range []string{"runs in a chroot", "fifth column", "relay_recipient_maps is empty"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q: %s", want, got)
		}
	}
}
