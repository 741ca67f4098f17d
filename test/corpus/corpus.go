// Package corpus is mail of all kinds for tests: what mail programs write, what they
// should not, and what nobody would but to do harm. Some of it is in files; most is made
// up, the same for the same seed.
package corpus

import (
	"embed"
	"fmt"
	"iter"
	"math/rand/v2"
	"path"
)

// Message is one message.
type Message struct {
	Name string
	Text []byte
}

//go:embed testdata/*.eml
var files embed.FS

// Files yields the messages in files: written by hand, or taken from the standards.
func Files() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		entries, err := files.ReadDir("testdata")
		if err != nil {
			panic(err) // it is part of the program
		}
		for _, e := range entries {
			text, err := files.ReadFile(path.Join("testdata", e.Name()))
			if err != nil {
				panic(err)
			}
			if !yield(Message{e.Name(), text}) {
				return
			}
		}
	}
}

// Generated yields so many made-up messages.
func Generated(seed uint64, n int) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for i := range n {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, uint64(i))), number: i}
			if !yield(Message{fmt.Sprintf("seed %d, message %d", seed, i), g.message()}) {
				return
			}
		}
	}
}

// All yields files, extremes and 400 made-up messages.
func All() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for _, kind := range []iter.Seq[Message]{Files(), Extremes(), Generated(1, 400)} {
			for m := range kind {
				if !yield(m) {
					return
				}
			}
		}
	}
}
