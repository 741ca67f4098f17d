package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
)

// capabilities are what this host does for plugins beyond handing them posts.
func (l *launcher) capabilities() []string {
	var out []string
	for _, c := range sdk.Capabilities {
		if c == sdk.CapMembers && l.members == nil || c == sdk.CapState && l.state == nil {
			continue
		}
		out = append(out, c)
	}
	return out
}

// refuse says why a plugin with such needs cannot be used.
func (l *launcher) refuse(name string, needs []string) error {
	for _, need := range needs {
		if slices.Contains(l.capabilities(), need) {
			continue
		}
		if slices.Contains(sdk.Capabilities, need) {
			return fmt.Errorf("%s needs %q, which is not to be had here", name, need)
		}
		return fmt.Errorf("%s needs %q, which mlist %s does not know (it has %s): a newer mlist may, or an older version of the plugin does without",
			name, printable(cut(need, 64)), l.version, strings.Join(l.capabilities(), ", "))
	}
	return nil
}

// wants tells whether the plugin needs a capability.
func (p *process) wants(capability string) bool { return slices.Contains(p.needs, capability) }
