package archive

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestThreads(t *testing.T) {
	for _, c := range []struct {
		name  string
		posts []string // id<parent<grandparent
		want  string
	}{
		{"nothing", nil, ""},
		{"in the order of coming", []string{"a", "b", "c"}, "abc"},
		{"answers follow what they answer", []string{"a", "b", "c<a", "d<b", "e<a"}, "acebd"},
		{"answers to answers", []string{"a", "b<a", "c<a", "d<b<a"}, "abdc"},
		{"the nearest ancestor that is there", []string{"a", "z", "c<b<a"}, "acz"},
		{"nobody's answer starts a thread", []string{"a<x", "b<y"}, "ab"},
		{"an answer that came first stands alone", []string{"b<a", "a"}, "ba"},
		{"its own parent", []string{"a<a", "b<a"}, "ab"},
		{"a circle", []string{"a<b", "b<a"}, "ab"},
		{"one id twice: the first has the answers", []string{"a", "x", "a", "b<a"}, "abxa"},
	} {
		var posts []Post
		for _, p := range c.posts {
			ids := strings.Split(p, "<")
			refs := ids[1:]
			slices.Reverse(refs)
			posts = append(posts, Post{ID: ids[0], Refs: refs})
		}
		got := ""
		for _, i := range Threads(posts) {
			got += posts[i].ID
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestThreadsLoseNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.Custom(func(rt *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 9).Draw(rt, "id")) })
		posts := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) Post {
			return Post{ID: id.Draw(rt, "own"), Refs: rapid.SliceOfN(id, 0, 4).Draw(rt, "refs")}
		}), 0, 30).Draw(rt, "posts")
		got := Threads(posts)
		slices.Sort(got)
		for i := range posts {
			if i >= len(got) || got[i] != i {
				rt.Fatalf("indexes %v of %d posts", got, len(posts))
			}
		}
	})
}
