package main

import (
	"slices"
	"strings"
	"testing"
)

func TestADiffOfFieldsShowsWhatIsGoneAndWhatIsNew(t *testing.T) {
	tests := []struct{ name, before, after, want string }{
		{"nothing", "a b c", "a b c", ""},
		{"one replaced", "a b c", "a x c", "- b,+ x"},
		{"one in front", "a b", "x a b", "+ x"},
		{"one at the end", "a b", "a b x", "+ x"},
		{"one of several of a name", "a b a b", "a a b", "- b"},
		{"changes apart from each other", "a b c d e", "a x c d", "- b,+ x,- e"},
		{"all gone", "a b", "", "- a,- b"},
		{"too much to compare", strings.Repeat("a ", maxDiff+1) + "x", "b " + strings.Repeat("a ", maxDiff+1), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after := strings.Fields(tt.before), strings.Fields(tt.after)
			got := diffFields(slices.Clone(before), slices.Clone(after))
			if tt.want != "" || len(before) < 10 {
				if strings.Join(got, ",") != tt.want {
					t.Errorf("got %q, want %s", got, tt.want)
				}
				return
			}
			if len(got) != len(before)+len(after) {
				t.Errorf("%d lines, want all %d", len(got), len(before)+len(after))
			}
		})
	}
}
