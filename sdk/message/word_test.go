package message

import "testing"

func TestWord(t *testing.T) {
	for in, want := range map[string]string{"": "", " No ": "no", "auto-replied; x=y": "auto-replied", "Auto-Replied (on (long) holiday) ;x": "auto-replied", "(why) bulk": "bulk",
		"no(comment)": "no", "no no": "no", "(never closed no": "", "a) b": "a)", ";x": "", "\tlist\r\n": "list"} {
		if got := Word(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
