package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

// Description is what a program says of itself.
type Description struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Stages   []Stage  `json:"stages"`
	Needs    []string `json:"needs,omitempty"`    // the capabilities that it does not work without
	Problems []string `json:"problems,omitempty"` // that it has with the configuration
}

// Stage is one stage that a program offers.
type Stage struct {
	Name  string   `json:"name"`
	Help  string   `json:"help,omitempty"`
	Needs []string `json:"needs,omitempty"`
	// AtSMTP: it may also be asked while the sender's SMTP session waits.
	AtSMTP bool `json:"at_smtp,omitempty"`
}

// Describe starts a program, asks what it is, and ends it. The tables of config are
// handed over, and an empty one for each stage in use that has none.
func Describe(ctx context.Context, path string, use []string, config map[string]map[string]any) (Description, error) {
	path, err := executable(path)
	if err != nil {
		return Description{}, err
	}
	p, err := start(ctx, path)
	if err != nil {
		return Description{}, err
	}
	defer p.end()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	d, err := p.describe(ctx)
	if err != nil {
		return Description{}, fmt.Errorf("describe: %s%s", words(err), p.fate())
	}
	if faults := describeFaults(d); len(faults) > 0 {
		return Description{}, fmt.Errorf("describe: %s", strings.Join(faults, " "))
	}
	out := Description{Name: d.GetName(), Version: d.GetVersion(), Needs: d.GetNeeds()}
	var used []string
	for _, s := range d.GetStages() {
		out.Stages = append(out.Stages, Stage{Name: s.GetName(), Help: s.GetHelp(), Needs: s.GetNeeds(), AtSMTP: s.GetAtSmtp()})
		if _, has := config[s.GetName()]; has || slices.Contains(use, s.GetName()) {
			used = append(used, s.GetName())
		}
	}
	tables, err := tables(used, config)
	if err != nil {
		return out, err
	}
	reply, err := p.configure(ctx, tables)
	if err != nil {
		return out, fmt.Errorf("configure: %s%s", words(err), p.fate())
	}
	out.Problems = reply.GetProblems()
	return out, nil
}

func tables(stages []string, config map[string]map[string]any) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, name := range stages {
		out[name] = []byte("{}")
		if table := config[name]; table != nil {
			text, err := json.Marshal(table)
			if err != nil {
				return nil, fmt.Errorf("[plugin.%s]: %w", name, err)
			}
			out[name] = text
		}
	}
	return out, nil
}

// describeFaults says in sentences what is wrong with a description.
func describeFaults(d *proto.DescribeReply) []string {
	var faults []string
	if !isWord(d.GetName()) {
		faults = append(faults, fmt.Sprintf("Its name, %.100q, must be 1 to 64 letters, digits, -, _ or dots.", d.GetName()))
	}
	if v := d.GetVersion(); len(v) > 64 || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		faults = append(faults, fmt.Sprintf("Its version, %.100q, must be printable and have at most 64 octets.", v))
	}
	if len(d.GetStages()) == 0 {
		faults = append(faults, "It offers no stage.")
	}
	for _, need := range d.GetNeeds() {
		if !slices.Contains(sdk.Capabilities, need) {
			faults = append(faults, fmt.Sprintf("It needs %.100q, which this mlist does not know.", need))
		}
	}
	seen := map[string]bool{}
	for _, s := range d.GetStages() {
		switch {
		case !isWord(s.GetName()):
			faults = append(faults, fmt.Sprintf("The name of its stage %.100q must be 1 to 64 letters, digits, -, _ or dots.", s.GetName()))
		case seen[s.GetName()]:
			faults = append(faults, fmt.Sprintf("It offers the stage %s twice.", s.GetName()))
		}
		seen[s.GetName()] = true
	}
	return faults
}

func isWord(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
	})
}

// words is the text of an error of gRPC, fit for a sentence.
func words(err error) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, fmt.Sprintf("%.500s", status.Convert(err).Message()))
}
