package bounce

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// said is a recipient of a sample, in the form that mlist bounce parse prints.
type said struct {
	Address   string `json:"address"`
	Permanent bool   `json:"permanent"`
	Class     Class  `json:"class"`
	Status    string `json:"status"`
}

var update = flag.Bool("update", false, "write what the samples in testdata are read as")

// TestSamples reads each NAME.eml in testdata, written after the formats that MTAs use, and
// compares with NAME.json.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) < 200 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".eml"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// Mail comes with CRLF; an operator's file may have LF.
			got := samples(t, string(raw))
			if crlf := samples(t, crlf(string(raw))); !reflect.DeepEqual(got, crlf) {
				t.Errorf("with CRLF it is %+v, with LF %+v", crlf, got)
			}
			wantFile := strings.TrimSuffix(file, ".eml") + ".json"
			if *update {
				text, err := json.MarshalIndent(got, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(wantFile, append(text, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			var want []said
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("it says %+v, want %+v", got, want)
			}
		})
	}
}

func samples(t *testing.T, raw string) []said {
	t.Helper()
	r, err := Parse(strings.NewReader(raw))
	if err != nil && !errors.Is(err, ErrNoReport) {
		t.Fatal(err)
	}
	out := []said{}
	for _, x := range r.Undelivered() {
		out = append(out, said{x.Address, x.Failed(), x.Class, x.Status})
	}
	return out
}
