package main

import (
	"bytes"
	"database/sql"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mistakes makes each mistake of docs/mistakes.md.
var mistakes = map[string]func(t *testing.T, s *sound){
	"wrong permissions": func(t *testing.T, s *sound) {
		must(t, os.Chmod(filepath.Join(s.dir, "spool", "incoming"), 0o777))
	},
	"unknown key": func(t *testing.T, s *sound) { s.configure(t, "lmtpd.lisen = [\"tcp:127.0.0.1:24\"]\n") },
	"port taken": func(t *testing.T, s *sound) {
		l, err := net.Listen("unix", filepath.Join(s.dir, "lmtp.sock"))
		must(t, err)
		t.Cleanup(func() { l.Close() })
	},
	"no hand-back port": func(t *testing.T, s *sound) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		l.Close() // nobody is there now
		s.set(t, `"unix:/nowhere"`, `"smtp://`+l.Addr().String()+`"`)
	},
	"plugin writable by others": func(t *testing.T, s *sound) { must(t, os.Chmod(s.plugin, 0o777)) },
	"Postfix chroot":            inAChroot,
	"clock off":                 func(_ *testing.T, s *sound) { s.now = s.now.Add(-24 * time.Hour) },
	"disk full": func(_ *testing.T, s *sound) {
		s.statfs = func(_ string, st *unix.Statfs_t) error {
			*st = unix.Statfs_t{Bsize: 4096, Blocks: 1000, Bavail: 30, Files: 1000, Ffree: 500}
			return nil
		}
	},
	"old schema": func(t *testing.T, s *sound) {
		s.alterStore(t, "DELETE FROM schema_version WHERE version_id = (SELECT max(version_id) FROM schema_version)")
	},
	"old program": func(t *testing.T, s *sound) {
		s.alterStore(t, "INSERT INTO schema_version (version_id, is_applied) VALUES (99, 1)")
	},
	"two outbounds with overlapping segments": func(t *testing.T, s *sound) {
		for _, name := range []string{"0000-8fff", "8000-ffff"} {
			must(t, os.WriteFile(filepath.Join(s.units, "mlist-outbound@"+name+".service"), nil, 0o600))
		}
		start(t, s.dir, "outbound", "--segments", "0000-8fff").says(t, "msg=ready", 1)
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// set changes what stands in the configuration.
func (s *sound) set(t *testing.T, old, new string) {
	t.Helper()
	text, err := os.ReadFile(s.path)
	must(t, err)
	must(t, os.WriteFile(s.path, bytes.Replace(text, []byte(old), []byte(new), 1), 0o600))
}

// alterStore changes what the store says of its schema.
func (s *sound) alterStore(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "mlist.db"))
	must(t, err)
	defer db.Close()
	_, err = db.Exec(statement)
	must(t, err)
}

// inAChroot has a Postfix whose service mlist sees nothing but the queue directory.
func inAChroot(t *testing.T, s *sound) {
	if _, err := exec.LookPath("postconf"); err != nil {
		t.Skip("no Postfix here: no postconf")
	}
	s.postfix = t.TempDir()
	old := time.Now().Add(-time.Hour) // Postfix waits until a file is a second old
	for name, text := range map[string]string{
		"main.cf":   "compatibility_level = 3.6\nconfig_directory = " + s.postfix + "\nrelay_domains = lists.test\n",
		"master.cf": "smtp inet n - y - - smtpd\nmlist unix - - y - 10 lmtp\n",
	} {
		path := filepath.Join(s.postfix, name)
		must(t, os.WriteFile(path, []byte(text), 0o644))
		must(t, os.Chtimes(path, old, old))
	}
}

// says is what a command prints.
func (s *sound) says(t *testing.T, command string) string {
	t.Helper()
	args := strings.Fields(command)[1:]
	if args[0] == "doctor" {
		s.found = nil
		var out bytes.Buffer
		_ = s.app.printFindings(&out, s.examine(t.Context(), s.postfix), "") // the status says that there are some
		return out.String()
	}
	cmd := exec.Command("mlist", append([]string{"--config", s.path}, args...)...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("%s does not fail", command)
	}
	return string(out)
}

// like makes a pattern of a sentence of the page, in which … stands for anything on a line.
func like(sentence string) *regexp.Regexp {
	parts := strings.Split(sentence, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(strings.Join(parts, ".*"))
}

// told is one row of the page.
type told struct{ command, cause, cure string }

// mistakesPage reads the rows of docs/mistakes.md by mistake.
func mistakesPage(t *testing.T) map[string][]told {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "mistakes.md"))
	must(t, err)
	rows := map[string][]told{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "| "), " |"), " | ")
		if len(cells) == 4 && cells[0] != "mistake" {
			rows[cells[0]] = append(rows[cells[0]], told{cells[1], cells[2], cells[3]})
		}
	}
	return rows
}

func TestTenMistakesAreToldAsThePageSays(t *testing.T) {
	rows := mistakesPage(t)
	for mistake, make := range mistakes {
		t.Run(mistake, func(t *testing.T) {
			t.Parallel()
			if len(rows[mistake]) == 0 {
				t.Fatal("the page does not tell of it")
			}
			s := newSound(t)
			const doctor = "mlist doctor"
			before := s.says(t, doctor)
			make(t, s)
			for _, row := range rows[mistake] {
				cause, cure := like(row.cause), like(row.cure)
				if row.command == doctor && cause.MatchString(before) {
					t.Errorf("before the mistake the doctor says:\n%s", before)
				}
				if got := s.says(t, row.command); !cause.MatchString(got) || !cure.MatchString(got) {
					t.Errorf("%s: want %q and %q in:\n%s", row.command, row.cause, row.cure, got)
				}
			}
		})
	}
	for mistake := range rows {
		if mistakes[mistake] == nil {
			t.Errorf("nothing makes the mistake of the page: %s", mistake)
		}
	}
}
