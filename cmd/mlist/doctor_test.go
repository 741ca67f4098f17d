package main

import (
	"bytes"
	"database/sql"
	"fmt"
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
	postfix     string // configuration directory
	*patient
}

func newSound(t *testing.T) *sound {
	t.Helper()
	s := &sound{dir: installed(t, ""), postfix: "/nonexistent"}
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
		now: time.Now(), statfs: unix.Statfs, units: filepath.Join(s.dir, "units"),
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
		{"no store", func(t *testing.T, s *sound) {
			must(t, os.RemoveAll(filepath.Join(s.dir, "spool")))
			must(t, os.Remove(filepath.Join(s.dir, "mlist.db")))
		}, "There is no store yet at", "create a list"},
		{"a directory that mlist cannot read", func(t *testing.T, s *sound) { must(t, os.Chmod(filepath.Join(s.dir, "spool", "incoming"), 0o500)) }, "may not read and write in", "chmod u+rwx"},
		{"a list with the site's address", func(t *testing.T, s *sound) { s.configure(t, "site_name = \"dev\"\n") }, "dev@lists.test is the site's own address (site_name), and the list dev@lists.test has it", "mlist list rename"},
		{"a setting from before it was refused", func(t *testing.T, s *sound) {
			db, err := sql.Open("sqlite", filepath.Join(s.dir, "mlist.db"))
			must(t, err)
			defer db.Close()
			_, err = db.Exec(`UPDATE lists SET settings = '{"header_matches":"hold Subject:"}'`)
			must(t, err)
		}, "A setting of dev@lists.test is one that this version would not take: header_matches:", "mlist list set dev@lists.test"},
		{"a configuration that mlist cannot read", func(t *testing.T, s *sound) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a spool to another user")
			}
			must(t, os.Chmod(s.path, 0o600))
			must(t, os.Chown(filepath.Join(s.dir, "spool"), 1, 1))
		}, "mlist's user cannot read ", "chmod g+rX"},
		{"an archive of another user", func(t *testing.T, s *sound) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give things to another user")
			}
			archive := filepath.Join(t.TempDir(), "archive")
			must(t, os.MkdirAll(filepath.Join(archive, "lists.test"), 0o755))
			must(t, os.Chown(filepath.Join(s.dir, "spool"), 1, 1))
			must(t, os.Chown(archive, 1, 1))
			s.set(t, "dir:"+filepath.Join(s.dir, "archive"), "dir:"+archive)
		}, "archive/lists.test does not belong to ", "chown -R 1:1"},
		{"a plugin that cannot be executed", func(t *testing.T, s *sound) { must(t, os.Chmod(s.plugin, 0o644)) }, "A plugin is not started: ", "chmod"},
		{"no plugin", func(t *testing.T, s *sound) { must(t, os.Remove(s.plugin)) }, "There is no plugin in", "Install the package again"},
		{"both kinds of services", func(t *testing.T, s *sound) {
			for _, name := range []string{"mlist.service", "mlist-outbound@0000-ffff.service"} {
				must(t, os.WriteFile(filepath.Join(s.units, name), nil, 0o600))
			}
		}, "are both enabled", "systemctl disable --now"},
		{"a service of no segments", func(t *testing.T, s *sound) {
			must(t, os.WriteFile(filepath.Join(s.units, "mlist-outbound@first.service"), nil, 0o600))
		}, "mlist-outbound@first.service: ", "Name it by its segments"},
		{"no inodes", func(_ *testing.T, s *sound) {
			s.statfs = func(_ string, st *unix.Statfs_t) error {
				*st = unix.Statfs_t{Bsize: 4096, Blocks: 1000, Bavail: 500, Files: 1000, Ffree: 20}
				return nil
			}
		}, "inodes", "Make room"},
		{"two SPF records", func(_ *testing.T, s *sound) {
			s.dns = mailauth.NewFile(map[string][]string{"lists.test": {"v=spf1 mx -all", "v=spf1 a -all"}, "_dmarc.lists.test": {"v=DMARC1; p=none"}})
		}, "lists.test has 2 SPF records", "Leave one"},
		{"no DMARC", func(_ *testing.T, s *sound) {
			s.dns = mailauth.NewFile(map[string][]string{"lists.test": {"v=spf1 mx -all"}})
		}, "lists.test has no DMARC record", "_dmarc.lists.test. TXT"},
		{"a key that is not published", func(t *testing.T, s *sound) {
			command(t, s.dir, "dkim", "keygen", "lists.test", "--selector", "s1", "--dir", s.dir)
			keys, err := filepath.Glob(filepath.Join(s.dir, "*s1*"))
			if err != nil || len(keys) == 0 {
				t.Fatalf("no key was made: %v", err)
			}
			s.configure(t, fmt.Sprintf("plugin.sign.keys = [{ domain = \"lists.test\", selector = \"s1\", key_file = %q }]\n", keys[0]))
		}, "signs, and receivers cannot check it", "mlist dkim show"},
		{"what changes posts after they are signed", func(t *testing.T, s *sound) {
			s.configure(t, "pipeline.stages = [\"loop\", \"dmarc\", \"sign\", \"footer\", \"acknowledge\"]\n")
		}, "Stage footer comes after sign", "pipeline.stages"},
		{"what changes posts after From is settled", func(t *testing.T, s *sound) {
			s.configure(t, "pipeline.stages = [\"loop\", \"subject\", \"dmarc\", \"footer\", \"sign\"]\n")
		}, "Stage footer comes after dmarc", "pipeline.stages"},
		{"no SPF", func(t *testing.T, s *sound) { s.dns = mailauth.NewFile(nil) }, "lists.test has no SPF record", "v=spf1"},
		{"nothing signs", func(*testing.T, *sound) {}, "not signed (DKIM)", "mlist dkim keygen"},
		{"it does not run", func(*testing.T, *sound) {}, "mlist is not running", "systemctl start mlist"},
	} {
		t.Run(tt.mistake, func(t *testing.T) {
			t.Parallel()
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
			if before := said(); strings.Contains(before, tt.want) && !strings.Contains("nothing signs it does not run", tt.mistake) {
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

// What a domain above has counts for those below, for receivers as for mlist.
func TestADoctorLooksAboveADomain(t *testing.T) {
	s := newSound(t)
	command(t, s.dir, "list", "create", "dev@eu.lists.test")
	command(t, s.dir, "dkim", "keygen", "lists.test", "--selector", "s1", "--dir", s.dir)
	keys, err := filepath.Glob(filepath.Join(s.dir, "*s1*"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	s.configure(t, fmt.Sprintf("plugin.sign.keys = [{ domain = \"lists.test\", selector = \"s1\", key_file = %q }]\n", keys[0]))
	for _, f := range s.examine(t.Context(), "/nonexistent") {
		if strings.Contains(f.Cause, "is not signed") || strings.Contains(f.Cause, "has no DMARC record") {
			t.Errorf("%+v", f)
		}
	}
}

func TestADoctorSeesAFullDisk(t *testing.T) {
	for _, tt := range []struct {
		st   unix.Statfs_t
		want string
	}{
		{unix.Statfs_t{Bsize: 4096, Blocks: 1000, Bavail: 30, Files: 1000, Ffree: 500}, "Only 3 % of the disk"},
		{unix.Statfs_t{Bsize: 4096, Blocks: 1000, Bavail: 500, Files: 1000, Ffree: 20}, "inodes"},
		{unix.Statfs_t{Bsize: 4096, Blocks: 1000, Bavail: 500}, ""},
		{unix.Statfs_t{Bsize: 4096, Blocks: 1 << 30, Bavail: 20 << 20}, ""}, // 80 GB of 4 TB
	} {
		p := &patient{}
		p.full("/var/spool/mlist", &tt.st)
		if got := fmt.Sprint(p.found); tt.want == "" && len(p.found) > 0 || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s", tt.st, got)
		}
	}
}

// As an administrator runs it, with a file in the place of DNS.
func TestTheDoctorsCommandEndsWithAStatus(t *testing.T) {
	s := newSound(t)
	zone := filepath.Join(s.dir, "dns.json")
	must(t, os.WriteFile(zone, []byte(`{"_dmarc.lists.test": ["v=DMARC1; p=none"]}`), 0o600))
	cmd := exec.Command("mlist", "--config", s.path, "doctor", "--postfix", "/nonexistent")
	cmd.Env = append(os.Environ(), mailauth.FileVariable+"="+zone)
	out, _ := cmd.CombinedOutput() // the status tells
	if code := cmd.ProcessState.ExitCode(); code != exitError || !strings.Contains(string(out), "PROBLEM: lists.test has no SPF record") || strings.Contains(string(out), "DMARC record") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
}
