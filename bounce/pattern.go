package bounce

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first wanted. There are many, and
// large ones: they would be most of the time that a program takes to start that reads no bounce.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
