package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What docs/handlers.md shows is this program, word for word.
func TestThePageShowsThisProgram(t *testing.T) {
	page, err := os.ReadFile("../../../docs/handlers.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, name := range []string{"main.go", "main_test.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) < 3 {
		t.Fatalf("the page has %d blocks of Go", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(code.String(), string(b[1])) {
			t.Errorf("not in main.go or main_test.go:\n%s", b[1])
		}
	}
}
