package templates

import (
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// BenchmarkSettings is what each post costs beside the settings alone.
func BenchmarkSettings(b *testing.B) {
	l := &list.List{Address: address.Address{Local: "dev", Domain: "lists.test"}, Settings: list.Defaults()}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			l.Settings.Map()
		}
	})
	b.Run("with texts", func(b *testing.B) {
		s := &Set{language: "de", files: map[key]*entry{{"site", "", "footer"}: {body: "x"}}}
		for b.Loop() {
			s.Settings(l, "fr")
		}
	})
}
