package archive

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
)

const hash = "JJIGKPKB6CVDX6B2CUG4IHAJRIQIOUTP"

func TestArchive(t *testing.T) {
	const id = "Message-ID: <87myycy5eh.fsf@uwakimon.sk.tsukuba.ac.jp>\n"
	const hashed = id + "Message-ID-Hash: " + hash + "\n"
	const at = "List-Archive: <https://a.test/dev/>\nArchived-At: <https://a.test/dev/message/" + hash + "/>\n"
	for _, c := range []struct {
		name, in, policy, url, want string
		kept                        bool
	}{
		{"public", id, "public", "", hashed, true},
		{"private", id, "private", "", hashed, true},
		{"never", id, "never", "https://a.test/dev/", hashed, false},
		{"a web archive", id, "public", "https://a.test/dev/", hashed + at, true},
		{"without the last slash", id, "public", "https://a.test/dev", hashed + at, true},
		{"no Message-ID", "Subject: x\n", "public", "https://a.test/dev/", "Subject: x\nList-Archive: <https://a.test/dev/>\n", true},
		{"another's hash", id + "Message-ID-Hash: OTHER\n", "public", "", hashed, true},
		{"X-No-Archive: yes", id + "X-No-Archive: yes\n", "public", "https://a.test/dev/", id + "X-No-Archive: yes\nMessage-ID-Hash: " + hash + "\n", false},
		{"X-No-Archive whatever it says", "X-No-Archive:\n", "public", "", "X-No-Archive:\n", false},
		{"X-Archive: No", "X-Archive: No\n", "public", "", "X-Archive: No\n", false},
		{"X-Archive: yes", "X-Archive: yes\n", "public", "", "X-Archive: yes\n", true},
		{"Archive: no with a parameter", "Archive: no ; filename=x\n", "public", "", "Archive: no ; filename=x\n", false},
		{"Archive: no with a comment", "Archive: no (please)\n", "public", "", "Archive: no (please)\n", false},
		{"a comment first", "Archive: (and (I) mean it) no\n", "public", "", "Archive: (and (I) mean it) no\n", false},
		{"a comment that never ends", "Archive: (no\n", "public", "", "Archive: (no\n", true},
		{"a second field that says no", "Archive: yes\nArchive: no\n", "public", "", "Archive: yes\nArchive: no\n", false},
		{"Archive: nothing of the kind", "Archive: nothing\n", "public", "", "Archive: nothing\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := handlertest.TryStages(t, handlertest.Case{Message: c.in + "\nbody\n", Settings: map[string]string{"archive_policy": c.policy, "archive_url": c.url}}, Stages()...)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Header.Bytes()) != c.want {
				t.Errorf("header\n%s\nwant\n%s", got.Header.Bytes(), c.want)
			}
			kept, ok := got.Kept[sdk.KeepArchive]
			if ok != c.kept || ok && string(kept) != string(got.Message) || len(got.Kept) > 1 {
				t.Errorf("kept %q", kept)
			}
			if !strings.HasSuffix(string(got.Message), "\nbody\n") {
				t.Errorf("message %q", got.Message)
			}
		})
	}
}
