package password

import (
	"strings"
	"testing"
)

func TestAHashKnowsItsPasswordAlone(t *testing.T) {
	h, err := Hash("sesame, ouvre-toi é")
	if err != nil {
		t.Fatal(err)
	}
	if !IsHash(h) || strings.Contains(h, "sesame") {
		t.Errorf("hash %q", h)
	}
	for text, want := range map[string]bool{"sesame, ouvre-toi é": true, "Sesame, ouvre-toi é": false, "": false, h: false, strings.Repeat("x", MaxLength+1): false} {
		if got := Check(h, text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if again, _ := Hash("sesame, ouvre-toi é"); again == h {
		t.Error("two hashes have one salt")
	}
}

// The vector is that of the reference implementation's test of Argon2id, version 19.
func TestHashesOfOthers(t *testing.T) {
	const theirs = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	if !Check(theirs, "password") || Check(theirs, "differentpassword") {
		t.Error("the reference's hash is not understood")
	}
}

func TestWhatIsNoPassword(t *testing.T) {
	for _, text := range []string{"", " x", "x ", "a\nb", "a\x00", "\xff", "$argon2id$v=19$m=262144,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", strings.Repeat("x", MaxLength+1)} {
		if h, err := Hash(text); err == nil {
			t.Errorf("%q has the hash %s", text, h)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2id$v=19$m=4294967295,t=4294967295,p=255$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=-1,t=0,p=0$$", "$$$$$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, hashed string) {
		if Check(hashed, "x") && !IsHash(hashed) {
			t.Errorf("%q has a password and is no hash", hashed)
		}
	})
}

func TestOneTimePasswords(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		once := NewOnce()
		hash := HashOnce(once)
		if len(once) != 23 || !strings.HasPrefix(hash, OnceForm) || seen[hash] {
			t.Fatalf("%s, %s", once, hash)
		}
		seen[hash] = true
		for _, same := range []string{strings.ToUpper(once), strings.ReplaceAll(once, "-", ""), strings.ReplaceAll(once, "-", " - ")} {
			if HashOnce(same) != hash {
				t.Errorf("%s and %s differ", once, same)
			}
		}
		for _, other := range []string{"", once[1:], once + "x", hash, strings.Repeat(" ", 1000) + once} {
			if HashOnce(other) == hash {
				t.Errorf("%s and %s are one", once, other)
			}
		}
	}
}
