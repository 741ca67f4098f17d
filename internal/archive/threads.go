package archive

import "slices"

// Post is what Threads looks at.
type Post struct {
	ID   string   // Message-ID; "" is none
	Refs []string // what it answers: the direct parent last
}

// Threads returns the order in which to show posts that are given in the order in which they
// came: each followed by the answers to it, the oldest first. A post whose parent is not
// among them hangs on the nearest ancestor that is, or starts a thread. Every index is in
// the result once, whatever the posts claim.
func Threads(posts []Post) []int {
	first := make(map[string]int, len(posts))
	for i, p := range posts {
		if _, again := first[p.ID]; p.ID != "" && !again {
			first[p.ID] = i
		}
	}
	// Only an older post can be a parent: there is no cycle then, and nothing is lost.
	children := make([][]int, len(posts))
	var roots []int
	for i, p := range posts {
		parent := -1
		for _, ref := range slices.Backward(p.Refs) {
			if j, ok := first[ref]; ok && j < i {
				parent = j
				break
			}
		}
		if parent < 0 {
			roots = append(roots, i)
		} else {
			children[parent] = append(children[parent], i)
		}
	}
	out := make([]int, 0, len(posts))
	stack := slices.Clone(roots)
	slices.Reverse(stack)
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		out = append(out, i)
		for _, child := range slices.Backward(children[i]) {
			stack = append(stack, child)
		}
	}
	return out
}
