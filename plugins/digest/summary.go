package digest

import (
	"fmt"
	"strings"
)

// summary makes the digest a list of what there is, and where to find it.
func (d *digest) summary() error {
	var b strings.Builder
	b.WriteString(d.masthead() + "\n" + d.say("digest_topics") + "\n\n")
	for i, p := range d.posts {
		b.WriteString(wrap(fmt.Sprintf("%4d. %s", i+1, d.subject(p)), 6))
		b.WriteString(wrap("      "+d.author(p)+date(p), 6))
		if where := d.permalink(p); where != "" {
			b.WriteString("      " + where + "\n")
		} else if id := p.header.ID(); id != "" {
			b.WriteString("      Message-ID: " + oneLine(id) + "\n")
		}
		b.WriteString("\n")
	}
	b.WriteString(d.footer())
	return d.become(b.String())
}

func date(p post) string {
	if text := oneLine(p.header.Get("Date")); text != "" {
		return ", " + text
	}
	return ""
}

// permalink is where the list's web archive has a post; "" if there is none, or the post is
// not in it: then the stage archive has not written so into its header.
func (d *digest) permalink(p post) string {
	url := strings.TrimSuffix(d.List.String("archive_url"), "/")
	if at := strings.Trim(p.header.Get("Archived-At"), "<> "); url != "" && strings.HasPrefix(at, url+"/") {
		return oneLine(at)
	}
	return ""
}
