package storetest

import (
	"bytes"

	"github.com/mlist/mlist/internal/store"
)

var secretTests = []test{
	{"a secret is made once, for all who share the store", func(w *world) {
		first, err := w.Secret(w.ctx, "a")
		w.ok(err)
		if len(first) != 32 || bytes.Equal(first, make([]byte, 32)) {
			w.Errorf("secret %x", first)
		}
		for range 2 {
			again, err := w.another().Secret(w.ctx, "a")
			w.ok(err)
			if !bytes.Equal(first, again) {
				w.Errorf("%x has become %x", first, again)
			}
		}
	}},
	{"secrets differ", func(w *world) {
		a, err := w.Secret(w.ctx, "a")
		w.ok(err)
		b, err := w.Secret(w.ctx, "b")
		w.ok(err)
		if bytes.Equal(a, b) {
			w.Errorf("both are %x", a)
		}
	}},
	{"two who ask at once get the same", func(w *world) {
		others := []store.Secrets{w.another(), w.another(), w.another()}
		got := make(chan []byte, len(others))
		for _, s := range others {
			go func() {
				secret, err := s.Secret(w.ctx, "a")
				if err != nil {
					w.Error(err)
				}
				got <- secret
			}()
		}
		first := <-got
		for range len(others) - 1 {
			if next := <-got; !bytes.Equal(first, next) {
				w.Errorf("%x and %x", first, next)
			}
		}
	}},
}
