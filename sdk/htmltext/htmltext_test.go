package htmltext

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRender(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"text", "hello  \n there", "hello there\n"},
		{"nothing", "<html><body> <p></p></body></html>", ""},
		{"paragraphs", "<p>one<p>two</p>\n<div>three</div><div>four</div>", "one\n\ntwo\n\nthree\nfour\n"},
		{"line breaks", "one<br>two<br/><br>three<br><br><br><br>four", "one\ntwo\n\nthree\n\nfour\n"},
		{"headings", "<h1>Head</h1>text", "Head\n\ntext\n"},
		{"entities, once", "a &lt;b&gt; &amp;amp; &eacute;&nbsp;&#8364;&shy;", "a <b> &amp; é €\n"},
		{"what is not seen", "a<style>b</style><script>c < d</script><title>e</title><!-- f --><noscript>g</noscript>h", "ah\n"},
		{"a script that never ends", "a<script>b<p>c", "a\n"},
		{"links", `see <a href="https://a.example/x">this page</a>, <a href="https://a.example/">https://a.example</a>, <a href="mailto:a@b.c">a@b.c</a> <a href="javascript:x()">no</a> <a href="#x">top</a>`,
			"see this page <https://a.example/x>, https://a.example, a@b.c no top\n"},
		{"a link that never ends", `<a href="http://x.example">y<p>z`, "y\n\nz <http://x.example>\n"},
		{"lists", "<p>a</p><ul><li>one<li>two<ol start=3><li>three</li><li>four</ol></ul>b", "a\n\n- one\n- two\n  3. three\n  4. four\n\nb\n"},
		{"an item without a list", "<li>x", "- x\n"},
		{"quotes", "a<blockquote>b<br>c<blockquote>d</blockquote></blockquote>e", "a\n\n> b\n> c\n>\n> > d\n\ne\n"},
		{"tables", "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>", "A | B\n1 | 2\n"},
		{"text as it is", "<pre>a  b\n  c\n\n\td</pre>e", "a  b\n  c\n\n    d\n\ne\n"},
		{"pictures", `<img src=x alt="a cat"> <img src=y> <img alt="">!`, "[a cat] !\n"},
		{"a rule", "a<hr>b", "a\n----------------------------------------\nb\n"},
		{"long lines are broken", strings.Repeat("word ", 20), strings.TrimSpace(strings.Repeat("word ", 15)) + "\n" + strings.TrimSpace(strings.Repeat("word ", 5)) + "\n"},
		{"long words are not", strings.Repeat("x", 200), strings.Repeat("x", 200) + "\n"},
		{"tags within words", "H<sub>2</sub>O<b>!</b>", "H2O!\n"},
		{"a tag that never ends", "a <b", "a\n"},
		{"control characters", "a\x1b[31mb\x00c", "a[31mbc\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Render(tt.in, 1<<20)
			if !ok || got != tt.want {
				t.Errorf("%t\n%q\nwant\n%q", ok, got, tt.want)
			}
		})
	}
}

func TestRenderIsBounded(t *testing.T) {
	for _, s := range []string{"<hr>", "<blockquote>", "<blockquote>x", "<ul><li>", "<br>x", "<a href=http://x>", "<pre>\n", "&", "<", "</p>", "<table><tr><td>x", "<b a=1 b=2>", "<script>", "<!--", "]]>"} {
		in := strings.Repeat(s, (1<<20)/len(s))
		if text, ok := Render(in, 256<<10); len(text) > 256<<10 || !ok && len(text) < 255<<10 {
			t.Errorf("%q: %d octets, %t", s, len(text), ok)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"<p>a<ul><li>b</ul>", "<blockquote><pre>x\n", `<a href="http://x">y</a>`, "<table><tr><td>a<td>b", "&#0;&#x110000;&nbsp", "<ol start=-9><li>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		text, ok := Render(in, 1<<20)
		if !ok || utf8.ValidString(in) && !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\r\x1b") || text != "" && !strings.HasSuffix(text, "\n") {
			t.Fatalf("%q becomes %q, %t", in, text, ok)
		}
	})
}
