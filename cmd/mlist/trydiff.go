package main

import (
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// fieldTexts are the fields of a header block, unfolded, in their order.
func fieldTexts(h *message.Header) []string {
	var out []string
	for f := range h.Fields() {
		out = append(out, strings.NewReplacer("\r", "", "\n", "").Replace(string(f.Raw)))
	}
	return out
}

// maxDiff bounds the work of a diff: a header that has more fields after what is the same
// at both ends is shown as taken out and put in whole.
const maxDiff = 500

// diffFields lists what is gone and what is new, in order, as "- field" and "+ field".
func diffFields(before, after []string) []string {
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	common := longestCommon(before, after)
	var out []string
	i, j := 0, 0
	for _, at := range append(common, [2]int{len(before), len(after)}) {
		for ; i < at[0]; i++ {
			out = append(out, "- "+before[i])
		}
		for ; j < at[1]; j++ {
			out = append(out, "+ "+after[j])
		}
		i, j = at[0]+1, at[1]+1
	}
	return out
}

// longestCommon returns the places, in both, of a longest common subsequence.
func longestCommon(a, b []string) [][2]int {
	if len(a) > maxDiff || len(b) > maxDiff {
		return nil
	}
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out [][2]int
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			out = append(out, [2]int{i, j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return out
}
