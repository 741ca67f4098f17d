// Package packaging holds what packages are made of: `make packages`. Here is only what
// can be checked in no time; `make package-test` installs them in a clean Debian.
package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func glob(t *testing.T, pattern string, least int) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) < least {
		t.Fatalf("%s: %q, %v", pattern, files, err)
	}
	return files
}

func TestEveryServiceIsConfinedAlike(t *testing.T) {
	var first string
	for _, path := range glob(t, "systemd/*.service", 5) {
		_, confined, ok := strings.Cut(read(t, path), "\nUser=mlist\n")
		confined, _, found := strings.Cut(confined, "\n[Install]")
		if !ok || !found {
			t.Fatalf("%s: no User=mlist, or no [Install] after it", path)
		}
		if first == "" {
			first = confined
		} else if confined != first {
			t.Errorf("%s is not confined as the others are", path)
		}
	}
}

var exposure = regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`)

func TestServicesAreHardToAbuse(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here to ask how exposed the services are")
	}
	for _, path := range glob(t, "systemd/*.service", 5) {
		out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", path).CombinedOutput()
		if strings.Contains(string(out), "unrecognized option") {
			t.Skip("this systemd-analyze cannot judge a file")
		}
		found := exposure.FindSubmatch(out)
		if err != nil || found == nil {
			t.Fatalf("%s: %v: %s", path, err, out)
		}
		if level, _ := strconv.ParseFloat(string(found[1]), 64); level > 2.0 {
			t.Errorf("%s: exposure %v, want at most 2.0", path, level)
		}
	}
}

// Of what runs everything and what runs one daemon only one is there at a time, and the one ends before the other starts:
// two would want the same segments and sockets.
func TestOneSetOfServicesEndsBeforeTheOtherStarts(t *testing.T) {
	for _, pair := range [][2]string{{"mlist-lmtpd.service", "mlist.service"}, {"mlist-milter.service", "mlist.service"}, {"mlist-pipeline.service", "mlist.service"},
		{"mlist-outbound@.service", "mlist.service"}, {"mlist-lmtpd.socket", "mlist.socket"}} {
		text := read(t, "systemd/"+pair[0])
		for _, key := range []string{"After", "Conflicts"} {
			if !regexp.MustCompile(`(?m)^` + key + `=(.* )?` + regexp.QuoteMeta(pair[1]) + `$`).MatchString(text) {
				t.Errorf("%s has no %s=%s", pair[0], key, pair[1])
			}
		}
	}
}

// A socket that systemd holds and mlist does not serve keeps whoever connects waiting.
func TestTheSocketsAreThoseOfTheConfiguration(t *testing.T) {
	c := config.Default()
	for path, want := range map[string][]string{
		"systemd/mlist.socket":       c.LMTPD.Listen,
		"systemd/mlist-lmtpd.socket": c.LMTPD.Listen,
	} {
		text := read(t, path)
		for _, address := range want {
			if !strings.Contains(text, "\nListenStream="+strings.TrimPrefix(address, "unix:")+"\n") {
				t.Errorf("%s does not listen on %s", path, address)
			}
		}
		if n := strings.Count(text, "\nListenStream="); n != len(want) {
			t.Errorf("%s has %d addresses, want %d", path, n, len(want))
		}
	}
}

var content = regexp.MustCompile(`src: "?([^"]+?)"?, .*dst: ([^,}]+)`)

// What is to be packaged is there, and nothing of etc is forgotten. `make package-test` looks into the packages themselves.
func TestEverythingIsPackaged(t *testing.T) {
	text := read(t, "nfpm.yaml")
	var taken []string
	from := map[string]string{} // by destination
	for _, m := range content.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], "${STAGE}") {
			continue // built
		}
		files := glob(t, filepath.Join("..", m[1]), 1)
		taken = append(taken, files...)
		for _, file := range files {
			to := m[2]
			if strings.HasSuffix(to, "/") {
				to += filepath.Base(file)
			}
			if from[to] != "" {
				t.Errorf("%s and %s would both be %s", from[to], file, to)
			}
			from[to] = file
		}
	}
	for _, pattern := range []string{"../etc/*", "../etc/*/*", "../docs/*.md", "systemd/*", "../internal/templates/builtin/*/*"} {
		for _, file := range glob(t, pattern, 1) {
			if info, err := os.Stat(file); err == nil && info.IsDir() {
				continue
			}
			if !slices.ContainsFunc(taken, func(have string) bool {
				return filepath.Clean(have) == filepath.Join("..", "packaging", file) || filepath.Clean(have) == filepath.Clean(file)
			}) {
				t.Errorf("%s is in no package", file)
			}
		}
	}
	for _, want := range []string{"dst: /usr/bin/mlist,", "dst: /usr/lib/mlist/plugins/standard,", "dst: /etc/mlist/mlist.toml, type: config|noreplace",
		"dst: /var/spool/mlist, type: dir, file_info: {mode: 0700, owner: mlist, group: mlist}", "dst: /var/lib/mlist, type: dir, file_info: {mode: 0750, owner: mlist, group: mlist}",
		"dst: /usr/share/man/man1/", "dst: /usr/share/man/man5/", "/completions/mlist,"} {
		if !strings.Contains(text, want) {
			t.Errorf("nfpm.yaml has no %q", want)
		}
	}
}

// The packages hold the licence of each module that the programs contain.
func TestLicencesOfOthersAreThere(t *testing.T) {
	licences, err := exec.Command("./licenses").Output()
	if err != nil {
		t.Fatal(err)
	}
	linked, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "../cmd/mlist", "../plugins/standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for module := range strings.Lines(string(linked)) {
		if module = strings.TrimSpace(module); module != "" && module != "github.com/mlist/mlist" && !strings.Contains(string(licences), "==== "+module+": ") {
			t.Errorf("no licence of %s", module)
		}
	}
	if text := read(t, "nfpm.yaml"); !strings.Contains(text, "third-party-licenses.gz, file_info") {
		t.Error("the packages do not hold them")
	}
}

// Each service starts a daemon, says when it is ready, takes reloads, and is watched; an instance is what its name says.
func TestServicesAreTakenCareOf(t *testing.T) {
	for path, start := range map[string]string{
		"systemd/mlist.service": "serve", "systemd/mlist-lmtpd.service": "lmtpd", "systemd/mlist-milter.service": "milter",
		"systemd/mlist-pipeline.service": "pipeline", "systemd/mlist-outbound@.service": "outbound --segments %i",
	} {
		text := read(t, path)
		for _, line := range []string{"ExecStart=/usr/bin/mlist " + start, "Type=notify", "ExecReload=/usr/bin/mlist reload", "WatchdogSec=1min", "Restart=on-failure", "StartLimitIntervalSec=0", "OOMPolicy=continue", "LimitNOFILE=65536", "TasksMax=4096"} {
			if !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("%s has no line %s", path, line)
			}
		}
	}
}

func TestTheScriptsAreShell(t *testing.T) {
	for _, path := range append(glob(t, "scripts/*", 8), "build", "licenses", "test", "testlib", "story") {
		shell, _, _ := strings.Cut(strings.TrimPrefix(read(t, path), "#!"), "\n")
		if out, err := exec.Command("sh", "-c", shell+" -n "+path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
}
