package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatIsWrongIsToldWithFileLineAndKey(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"text that is not TOML", "hostname = \"a\"\nhost name = 1\n", "x.toml:2: "},
		{"an unknown key", "[outbound]\n\nconections = 3\n", "x.toml:3: outbound.conections: no such key; did you mean outbound.connections?"},
		{"a key of another section", "mta = \"smtp://h\"\n", "x.toml:1: mta: no such key; did you mean outbound.mta?"},
		{"an unknown section", "[lmtp]\nlisten = []\n", "x.toml:1: lmtp: no such key; did you mean [lmtpd]?"},
		{"a key that resembles none", "[log]\nzzzzzzzzz = 1\n", "x.toml:2: log.zzzzzzzzz: no such key"},
		{"a key in another case", "Hostname = \"a\"\n", "x.toml:1: Hostname: no such key; did you mean hostname?"},
		{"a key within an inline table", "\nlog = { level = \"info\",\n  fromat = \"text\" }\n", "x.toml:3: log.fromat: no such key; did you mean log.format?"},
		{"a dotted key", "outbound.connections = \"4\"\n", "x.toml:1: outbound.connections: want a whole number, not a string"},
		{"a section that is no table", "log = 1\n", "x.toml:1: log: want a table [log], not 1"},
		{"a section that is an array of tables", "[[log]]\n", "x.toml:1: log: want a table [log], not a list"},
		{"a list in place of a string", "hostname = []\n", "x.toml:1: hostname: want a string in quotes, not a list"},
		{"a date in place of a string", "hostname = 2026-11-24\n", "x.toml:1: hostname: want a string in quotes, not a date or time"},
		{"a string in place of a list", "[lmtpd]\nlisten = \"unix:/x\"\n", `x.toml:2: lmtpd.listen: want a list of strings, such as ["a", "b"], not a string`},
		{"a number within a list of strings", "[lmtpd]\nlisten = [\n 1 ]\n", "x.toml:2: lmtpd.listen: want strings in quotes in the list, not 1"},
		{"a string in place of a boolean", "[pipeline]\ncheck_owner = \"yes\"\n", "x.toml:2: pipeline.check_owner: want true or false, not a string"},
		{"a fraction", "[outbound]\nconnections = 1.5\n", "x.toml:2: outbound.connections: want a whole number, not 1.5"},
		{"no connections", "[outbound]\nconnections = 0\n", "x.toml:2: outbound.connections: 0: want 1 or more"},
		{"a negative size", "[lmtpd]\nmax_message_size = -1\n", "x.toml:2: lmtpd.max_message_size: want a string in quotes, not -1"},
		{"a size with an unknown unit", "[lmtpd]\nmax_message_size = \"40TB\"\n", `x.toml:2: lmtpd.max_message_size: "40TB": want a size such as 256KB, 40MB or 1GB`},
		{"a size that is too large for a machine", "[lmtpd]\nmax_message_size = \"99999999999GB\"\n", "want a size"},
		{"a size below the least", "[lmtpd]\nmax_message_size = \"1\"\n", "x.toml:2: lmtpd.max_message_size: 1: want 1KB or more"},
		{"a duration without a unit", "[lmtpd]\nidle_timeout = 30\n", "x.toml:2: lmtpd.idle_timeout: want a string in quotes, not 30"},
		{"a negative duration", "[lmtpd]\nidle_timeout = \"-3s\"\n", `x.toml:2: lmtpd.idle_timeout: "-3s": want a duration such as 30s, 5m, 2h or 5d`},
		{"a duration below the least", "[lmtpd]\nidle_timeout = \"0s\"\n", "x.toml:2: lmtpd.idle_timeout: 0s: want 1s or more"},
		{"an unknown word", "[log]\nlevel = \"loud\"\n", `x.toml:2: log.level: "loud": want one of debug, info, warn, error`},
		{"shared segments of a directory", "[outbound]\nsegments = \"auto\"\n", "x.toml:2: outbound.segments: auto needs a spool in a database (spool.url); in a directory each daemon has ranges of its own, such as 0000-7fff and 8000-ffff"},
		{"segments that overlap", "[outbound]\nsegments = \"0000-8000,7000-ffff\"\n", "x.toml:2: outbound.segments: "},
		{"no listener", "[lmtpd]\nlisten = []\n", "x.toml:2: lmtpd.listen: want one address or more"},
		{"a listener of an unknown kind", "[lmtpd]\nlisten = [\"/run/x\"]\n", `x.toml:2: lmtpd.listen: "/run/x": want unix:PATH or tcp:HOST:PORT`},
		{"a listener without a port", "[lmtpd]\nlisten = [\"tcp:localhost\"]\n", `x.toml:2: lmtpd.listen: "tcp:localhost": want tcp:HOST:PORT: missing port in address`},
		{"a listener with an impossible port", "[lmtpd]\nlisten = [\"tcp:localhost:99999\"]\n", `want tcp:HOST:PORT: port "99999"`},
		{"a listener twice", "[lmtpd]\nlisten = [\"unix:/x\", \"unix:/x\"]\n", "x.toml:2: lmtpd.listen: unix:/x is there twice"},
		{"a socket path over the kernel's limit", "[lmtpd]\nlisten = [\"unix:/" + strings.Repeat("x", 107) + "\"]\n", "at most 107 octets"},
		{"a socket mode that is not octal", "[lmtpd]\nsocket_mode = \"0999\"\n", `x.toml:2: lmtpd.socket_mode: "0999": want permissions in octal, such as 0660`},
		{"a header limit over what can be parsed", "[lmtpd]\nmax_header_size = \"3MB\"\n", "x.toml:2: lmtpd.max_header_size: 3MB: want 2MB or less"},
		{"a store of another kind", "[store]\nurl = \"mysql://user:secret@db/x\"\n", `x.toml:2: store.url: "mysql": want sqlite:PATH or postgres://USER@HOST/DATABASE`},
		{"a store with a password", "[store]\nurl = \"postgres://mlist:secret@db/x\"\n", `x.toml:2: store.url: a password belongs in a file that passfile=PATH names in the URL, as libpq has it`},
		{"a store without a host", "[store]\nurl = \"postgres:db\"\n", `x.toml:2: store.url: want postgres://USER@HOST/DATABASE`},
		{"a relative path", "[spool]\nurl = \"dir:spool\"\n", `x.toml:2: spool.url: "spool": want an absolute path`},
		{"a spool in a database, and no place for the trace", "[spool]\nurl = \"postgres://mlist@db/x\"\n", "trace.dir: want a directory on this machine: the spool is in a database"},
		{"an MTA without a scheme", "[outbound]\nmta = \"127.0.0.1:25\"\n", `x.toml:2: outbound.mta: "127.0.0.1:25": want smtp://HOST:PORT, smtps://HOST:PORT or unix:PATH`},
		{"an MTA with a password", "[outbound]\nmta = \"smtp://u:secret@h:25\"\n", "x.toml:2: outbound.mta: credentials belong in username and password_file"},
		{"an MTA with an impossible port", "[outbound]\nmta = \"smtp://h:0x19\"\n", "x.toml:2: outbound.mta: "},
		{"a user without a password", "[outbound]\nusername = \"u\"\n", "x.toml:2: outbound.username: want password_file beside it"},
		{"a relative path of the templates", "[templates]\ndir = \"t\"\n", `x.toml:2: templates.dir: "t": want an absolute path`},
		{"a language that is none", "[templates]\nlanguage = \"English\"\n", `x.toml:2: templates.language: "English" is no language`},
		{"a relative path of the trace", "[trace]\ndir = \"trace\"\n", `x.toml:2: trace.dir: "trace": want an absolute path`},
		{"a control socket that is no unix socket", "[control]\nlisten = \"tcp:127.0.0.1:1\"\n", `x.toml:2: control.listen: "tcp:127.0.0.1:1": want unix:PATH`},
		{"metrics without a scheme", "[metrics]\nlisten = \"127.0.0.1:9130\"\n", `x.toml:2: metrics.listen: "127.0.0.1:9130": want unix:PATH or tcp:HOST:PORT`},
		{"metrics on a port with none above it", "[metrics]\nlisten = \"tcp:127.0.0.1:65535\"\n", `x.toml:2: metrics.listen: "tcp:127.0.0.1:65535": want a port of 1 to 65531`},
		{"a relative path of the control socket", "[control]\nlisten = \"unix:x.sock\"\n", `x.toml:2: control.listen: "x.sock": want an absolute path`},
		{"a trace kept for no time", "[trace]\nkeep = \"1h\"\n", "x.toml:2: trace.keep: 1h: want 1d or more"},
		{"a pin that is no checksum", "[pipeline]\nplugin_sha256 = { standard = \"beef\" }\n", "x.toml:2: pipeline.plugin_sha256: standard: \"beef\" is no SHA-256"},
		{"a pin that is no text", "[pipeline.plugin_sha256]\nstandard = 1\n", "x.toml:1: pipeline.plugin_sha256: want strings in quotes in the table, not 1"},
		{"pins that are no table", "[pipeline]\nplugin_sha256 = \"x\"\n", "x.toml:2: pipeline.plugin_sha256: want a table of strings"},
		{"a stage twice", "[pipeline]\nstages = [\"a\", \"a\"]\n", "x.toml:2: pipeline.stages: a is there twice"},
		{"a longest wait below the first", "[pipeline]\nretry_min = \"5m\"\nretry_max = \"1m\"\n", "x.toml:3: pipeline.retry_max: 1m: want no less than pipeline.retry_min (5m)"},
		{"a host name with a space", "hostname = \"a b\"\n", "x.toml:1: hostname: "},
		{"a host name that is not ASCII", "hostname = \"bücher.example\"\n", "x.toml:1: hostname: "},
		{"a style with a setting that is not there", "[styles.mine]\nfooter = \"x\"\nfoter = \"x\"\n", "x.toml:3: styles.mine.foter: no setting \"foter\": did you mean footer?"},
		{"a style with a setting of a wrong type", "[styles.mine]\nemergency = 3\n", "x.toml:2: styles.mine.emergency: want true or false"},
		{"a style with a setting of a bad value", "[styles.mine]\nfilter_action = \"burn\"\n", "x.toml:2: styles.mine.filter_action: "},
		{"a style of a style that is not there", "[styles.mine]\ninherits = \"his\"\n", "x.toml:2: styles.mine.inherits: there is no style \"his\""},
		{"styles in a circle", "[styles.a]\ninherits = \"b\"\n[styles.b]\ninherits = \"a\"\n", "that makes a circle"},
		{"a lock on nothing", "[styles.mine]\nlocked = [\"foter\"]\n", "x.toml:2: styles.mine.locked: no setting \"foter\""},
		{"a style with a bad name", "[styles.\"a b\"]\n", "want a name of letters"},
		{"a plugin's table that is none", "[plugin]\nloop = 3\n", "x.toml:2: plugin.loop: want a table [plugin.loop], not 3"},
		{"a key after strings that look like others", "hostname = \"h\" # ]\n[plugin.a]\nx = \"\"\"\n[log]\nlevel = 1\n\"\"\"\ny = ['''\n[''', \"#\"] # [\n[log]\nlevel = 1\n", "x.toml:10: log.level: want a string in quotes, not 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("x.toml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v\nwant %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Fatalf("the error shows a password: %v", err)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T is not an *Error", err)
			}
		})
	}
}

func TestAllThatIsWrongIsToldInTheOrderOfTheFile(t *testing.T) {
	_, err := Parse("x.toml", []byte("zeal = 1\n[log]\nlevel = 2\n[lmtpd]\nlisten = 3\nmax_connections = 0\n"))
	want := "x.toml:1: zeal: no such key\nx.toml:3: log.level: want a string in quotes, not 2\n" +
		"x.toml:5: lmtpd.listen: want a list of strings, such as [\"a\", \"b\"], not 3\nx.toml:6: lmtpd.max_connections: 0: want 1 or more"
	if err == nil || err.Error() != want {
		t.Fatalf("got\n%v\nwant\n%s", err, want)
	}
}

func TestValuesAreRead(t *testing.T) {
	c, err := Parse("x.toml", []byte(`
hostname = "lists.example.org"
[lmtpd]
listen = ["tcp:127.0.0.1:8024", "unix:/run/x"]
socket_mode = "660"
max_message_size = 1048576
idle_timeout = "1d12h30m"
[plugin.loop]
max_received = 30
nested = { a = [1, 2] }
[outbound]
segments = "0000-3fff, 8000-bfff"
mta = "smtps://[::1]:465"
`))
	if err != nil {
		t.Fatal(err)
	}
	mode, err := c.LMTPD.Mode()
	if err != nil || mode != 0o660 {
		t.Errorf("mode %o, %v", mode, err)
	}
	if c.LMTPD.MaxMessageSize.String() != "1MB" || c.LMTPD.IdleTimeout.Std() != 36*time.Hour+30*time.Minute {
		t.Errorf("size %v, duration %v", c.LMTPD.MaxMessageSize, c.LMTPD.IdleTimeout)
	}
	if got := c.Outbound.Segments.String(); got != "0000-3fff,8000-bfff" {
		t.Errorf("segments %s", got)
	}
	shared, err := Parse("x.toml", []byte("outbound.segments = \"auto\"\nspool.url = \"postgres://m@h/d\"\ntrace.dir = \"/t\"\n"))
	if err != nil || !shared.Outbound.Segments.Auto || shared.Outbound.Segments.String() != "auto" {
		t.Fatalf("auto is %v, %v", shared, err)
	}
	if c.Plugin["loop"]["max_received"] != int64(30) {
		t.Errorf("plugin tables %v", c.Plugin)
	}
	if c.Outbound.Connections != 8 {
		t.Errorf("a key that is not in the file is %d, not its default", c.Outbound.Connections)
	}
}

func TestAnEmptyFileIsTheDefault(t *testing.T) {
	c, err := Parse("x.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("got %+v, want %+v", c, Default())
	}
	if c.Hostname == "" {
		t.Error("no host name")
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.toml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("x = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1: x: ") {
		t.Errorf("a bad file: %v", err)
	}
}

func TestTheInstalledFileIsUpToDate(t *testing.T) {
	path := filepath.Join("..", "..", "etc", "mlist.toml")
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := WriteDefaults(&want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Fatalf("%s differs from the tags of Config; run: go generate ./internal/config", path)
	}
	c, err := Parse(path, have)
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Fatalf("as installed it is not the default: %+v, %v", c, err)
	}
	active := regexp.MustCompile(`(?m)^#([a-z])`).ReplaceAll(have, []byte("$1"))
	c, err = Parse(path, active)
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Fatalf("with each # taken away it is not the default: %+v, %v", c, err)
	}
	if keys := bytes.Count(active, []byte(" = ")); keys < 30 {
		t.Fatalf("it shows %d keys only", keys)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	for _, s := range schema {
		if s.name != "" && s.help == "" {
			t.Errorf("[%s] has no help", s.name)
		}
		for _, k := range s.keys {
			if k.help == "" {
				t.Errorf("%s has no help", k)
			}
		}
	}
}

func TestWhatIsWrittenReadsBack(t *testing.T) {
	c, err := Parse("x.toml", []byte("hostname = \"h\"\n[pipeline]\nplugin_sha256 = { \"a b\" = \""+strings.Repeat("0f", 32)+"\" }\nplugin_dir = \"/a \\\"b\\\\\\u007f\"\n"+
		"[plugin.b]\nx = 1\n[plugin.\"a b\"]\nwhen = 2026-11-24T12:00:00Z\nlist = [{ a = 1 }, { a = 2 }]\n[plugin.b.deep]\ny = [[1], [\"é\"]]\n[plugin.none]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := c.Write(&text); err != nil {
		t.Fatal(err)
	}
	back, err := Parse("written", text.Bytes())
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.Bytes())
	}
	a, _ := json.Marshal(c)
	b, _ := json.Marshal(back)
	if !bytes.Equal(a, b) {
		t.Errorf("read back as\n%s\nnot\n%s\nfrom\n%s", b, a, text.Bytes())
	}
	if !strings.Contains(string(a), `"max_message_size":"40MB"`) || !strings.Contains(string(a), `"a b"`) {
		t.Errorf("as JSON: %s", a)
	}
}

func TestSetListChangesOneLine(t *testing.T) {
	var installed strings.Builder
	if err := WriteDefaults(&installed); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"as installed":      installed.String(),
		"no such table":     "hostname = \"x.test\"\n",
		"no such key":       "[milter]\nmax_sessions = 7\n\n[log]\nlevel = \"debug\"\n",
		"another value":     "[lmtpd]\nlisten = [\"tcp:127.0.0.1:24\"]\n[milter]\nlisten = [\"unix:/a\"]\n",
		"an empty file":     "",
		"a dotted key":      "milter.listen = [\"unix:/a\"]\nlmtpd.listen = [\"tcp:127.0.0.1:24\"]\n[log]\nlevel = \"debug\"\n",
		"dotted neighbours": "hostname = \"x.test\"\nmilter.max_sessions = 7\n",
		"a comment before":  "# listen = [\"here\"]\n[milter]\n# on which sockets\n#listen = []\n",
	} {
		want := []string{"unix:/run/a.sock", "tcp:127.0.0.1:25"}
		out, err := SetList("x.toml", []byte(text), "milter", "listen", want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c, err := Parse("x.toml", out)
		if err != nil || !slices.Equal(c.Milter.Listen, want) {
			t.Errorf("%s: %q, %v\n%s", name, c.Milter.Listen, err, out)
		}
		if name == "another value" && c.LMTPD.Listen[0] != "tcp:127.0.0.1:24" {
			t.Errorf("%s: the key of another table was changed", name)
		}
	}
	for _, lines := range []string{"[milter]\nlisten = [\n\"unix:/a\",\n]\n", "milter.listen = [\n\"unix:/a\",\n]\n"} {
		if _, err := SetList("x.toml", []byte(lines), "milter", "listen", []string{"unix:/b"}); err == nil {
			t.Errorf("a value over several lines was changed: %s", lines)
		}
	}
}

func TestSetTextChangesOneLine(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "\n[spool]\nurl = \"dir:/b\"\n"},
		{"[spool]\n#url = \"dir:/var/spool/mlist\"\nmin_free = \"1GB\" # of it\n", "[spool]\nurl = \"dir:/b\"\nmin_free = \"1GB\" # of it\n"},
		{"[spool]\nurl = 'dir:/a' # the fast disk\n[store]\nurl = \"sqlite:/s\"\n", "[spool]\nurl = \"dir:/b\"\n[store]\nurl = \"sqlite:/s\"\n"},
		{"spool.url = \"dir:/a\"\n", "spool.url = \"dir:/b\"\n"},
	} {
		out, err := SetText("x.toml", []byte(tt.text), "spool", "url", "dir:/b")
		if err != nil || string(out) != tt.want {
			t.Errorf("%q: %q, %v: want %q", tt.text, out, err, tt.want)
		}
	}
	if _, err := SetText("x.toml", nil, "spool", "url", "postgres://db/x"); err == nil {
		t.Error("a file that would not be right was made")
	}
}

// Of a file that is wrong, whatever stands before what is no TOML, and all other keys, can be read.
func TestSalvage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.toml")
	const first = "control.listen = \"unix:/run/x/control.sock\"\n"
	for name, tt := range map[string]struct{ text, listen string }{
		"an unknown key":          {"nonsense = 1\n" + first, "unix:/run/x/control.sock"},
		"no TOML below":           {first + "spool = [\n\n", "unix:/run/x/control.sock"},
		"no TOML above":           {"spool = [[\n" + first, Default().Control.Listen},
		"no TOML at all":          {"\xff\xfe\x00", Default().Control.Listen},
		"a string without an end": {first + "a = \"\"\"\n" + first, "unix:/run/x/control.sock"},
		"nothing":                 {"", Default().Control.Listen},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c := Salvage(path); c.Control.Listen != tt.listen || c.Hostname == "" {
			t.Errorf("%s: control.listen is %q, want %q", name, c.Control.Listen, tt.listen)
		}
	}
	if c := Salvage(path + ".none"); c.Control.Listen != Default().Control.Listen {
		t.Error("there is no file")
	}
}
