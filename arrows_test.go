package mlist_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/mlist/mlist/"

// rules say which packages of this module, and which modules that only some may use, a
// package may import. The first rule whose prefix fits a package is the one that holds.
var rules = []struct {
	pkg     string
	may     []string // prefixes within the module
	outside []string // guarded modules that it may use
	why     string
}{
	{"cmd/mlist", []string{"lmtpd", "milter", "pipeline", "outbound", "internal/", "sdk", "mailauth", "bounce"}, nil,
		"the command wires daemons together; no rule of mail lives in it"},
	{"lmtpd", []string{"internal/", "sdk/message"}, nil, "a daemon talks to the next one through a queue, never by a call"},
	{"milter", []string{"internal/", "sdk"}, []string{"github.com/emersion/go-milter"}, "it asks what the pipeline will ask, and moves no mail"},
	{"pipeline", []string{"internal/", "sdk", "sdk/message", "bounce"}, nil, "a daemon talks to the next one through a queue, never by a call"},
	{"outbound", []string{"outbound/sender", "outbound/internal", "internal/spool", "internal/segment", "internal/address", "internal/trace", "internal/verp", "internal/oneclick", "mailauth", "sdk/message"}, nil,
		"outgoing mail flows while the store is down, so outbound knows neither store nor lists"},
	{"bounce", []string{"internal/address", "sdk/message"}, nil, "what a bounce says is a pure function"},
	{"mailauth", []string{"sdk/message"}, nil, "who vouches for a message: a leaf that handlers, outbound and the command share"},
	{"plugins/standard", []string{"plugins/", "sdk", "mailauth"}, nil, "serves the other handlers in one process"},
	{"plugins/", []string{"sdk", "mailauth"}, nil, "a handler that ships with mlist has nothing that others cannot have"},
	{"sdk/message", nil, nil, "the leaf that mlist and its plugins share"},
	{"sdk/proto", nil, nil, "the contract alone"},
	{"sdk/text", nil, nil, "a leaf: mlist and its handlers fill in the same placeholders"},
	{"sdk/htmltext", nil, nil, "a leaf: handlers that show HTML as text show the same"},
	{"sdk/password", nil, nil, "a leaf: the command line hashes what a handler checks"},
	{"sdk", []string{"sdk/"}, []string{"github.com/hashicorp/go-plugin"}, "handler authors get nothing of mlist's inside"},
	{"internal/host", []string{"sdk", "sdk/"}, []string{"github.com/hashicorp/go-plugin"}, "the one place that runs plugin processes"},
	{"internal/postgres", nil, []string{"github.com/jackc/pgx"}, "a leaf: how store and spool reach a server, the same for both"},
	{"internal/spool", []string{"internal/segment", "internal/balance", "internal/spool", "internal/postgres"}, []string{"github.com/pressly/goose", "github.com/jackc/pgx"}, "a queue knows nothing of lists"},
	{"internal/store", []string{"internal/address", "internal/list", "internal/store", "internal/postgres"}, []string{"modernc.org/sqlite", "github.com/pressly/goose", "github.com/jackc/pgx"},
		"the one place that speaks SQL"},
	{"internal/archive/dir", []string{"internal/archive"}, nil, "the bytes of an archive; what they are stands in the store"},
	{"internal/archive/archivetest", []string{"internal/archive"}, nil, "the suite of any archive"},
	{"internal/archive", nil, nil, "a leaf: the bytes of an archive; what they are stands in the store"},
	{"internal/mailfile", nil, nil, "a leaf: the files of other mail programs"},
	{"internal/list", []string{"internal/address"}, nil, "the domain model is pure"},
	{"internal/listfile", []string{"internal/address", "internal/list", "internal/store", "sdk/message"}, []string{"github.com/BurntSushi/toml"},
		"lists as text: names, types and forms; what they mean is for the store"},
	{"internal/config", []string{"internal/segment", "internal/address", "internal/list"}, []string{"github.com/BurntSushi/toml"}, "the one reader of the configuration file"},
	{"internal/address", nil, nil, "a leaf"},
	{"internal/verp", []string{"internal/address"}, nil, "outbound makes return paths and the pipeline reads them, and neither knows the other"},
	{"internal/oneclick", []string{"internal/address"}, nil, "outbound makes tokens and who serves the web reads them, and neither knows the other"},
	{"internal/segment", nil, nil, "a leaf"},
	{"internal/balance", []string{"internal/segment"}, nil, "who is to serve what is a pure function, so that a simulation runs what serves"},
	{"internal/command", nil, nil, "a leaf: what people ask for is a pure function of their words"},
	{"internal/templates", []string{"internal/address", "internal/list", "sdk/text"}, nil, "what is written to people is a pure function of lists and files"},
	{"internal/describe", []string{"internal/address", "internal/host", "internal/list", "internal/spool", "internal/templates", "sdk", "sdk/message"}, nil,
		"what the stages are told is the same whoever asks them"},
	{"internal/moderate", []string{"internal/address", "internal/list", "internal/spool", "internal/store", "sdk/message"}, nil,
		"decides about held posts for whoever asks: the pipeline, the command, one day an API"},
	{"internal/backup", nil, nil, "a leaf: a file of files and their checksums; what they are is for the command"},
	{"internal/postfix", []string{"internal/address"}, nil, "what Postfix is told, and asked: no mail, no store"},
	{"internal/socketmap", []string{"internal/address", "internal/listen", "internal/store"}, nil, "a daemon that tells whose an address is: no mail, no queue"},
	{"internal/listen", nil, nil, "a leaf: sockets to serve on"},
	{"internal/metrics", []string{"internal/listen"}, []string{"github.com/prometheus/client_golang"}, "daemons say what they count in interfaces of their own; it is served as all is"},
	{"internal/control", []string{"internal/listen", "internal/metrics"}, nil, "knows no daemon: what a running mlist says of itself, whichever daemons it runs"},
	{"internal/trace", nil, nil, "a leaf: outbound writes to it, which knows neither store nor lists"},
	{"packaging", []string{"internal/config"}, nil, "what packages are made of, and tests that it fits together"},
	{"docs", nil, nil, "pages, and tests that they tell what is"},
	{"test/", []string{""}, nil, "tests may use everything"},
}

// guarded are modules that only packages whose rule names them may import.
var guarded = []string{"github.com/hashicorp/go-plugin", "github.com/emersion/go-milter", "modernc.org/sqlite", "github.com/pressly/goose", "github.com/jackc/pgx", "github.com/BurntSushi/toml", "github.com/prometheus/client_golang"}

func TestArrowsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		checkPackage(t, strings.TrimPrefix(p.ImportPath, module), p.Imports)
	}
	if seen < 10 {
		t.Fatalf("go list found only %d packages", seen)
	}
}

func checkPackage(t *testing.T, pkg string, imports []string) {
	if pkg == strings.TrimSuffix(module, "/") {
		return // the root holds this test alone
	}
	for _, r := range rules {
		if pkg != strings.TrimSuffix(r.pkg, "/") && !strings.HasPrefix(pkg, strings.TrimSuffix(r.pkg, "/")+"/") {
			continue
		}
		for _, imp := range imports {
			if name, ours := strings.CutPrefix(imp, module); ours {
				if !allowed(name, r.may) {
					t.Errorf("%s imports %s, which it may not: %s", pkg, name, r.why)
				}
				continue
			}
			for _, g := range guarded {
				if strings.HasPrefix(imp, g) && !allowed(imp, r.outside) && !strings.HasPrefix(pkg, "test/") {
					t.Errorf("%s imports %s, which it may not: %s", pkg, imp, r.why)
				}
			}
		}
		return
	}
	t.Errorf("%s: no rule says what it may import; add one to arrows_test.go with its reason", pkg)
}

func allowed(name string, prefixes []string) bool {
	for _, p := range prefixes {
		base := strings.TrimSuffix(p, "/")
		if name == base || strings.HasPrefix(name, base+"/") || p == "" {
			return true
		}
	}
	return false
}
