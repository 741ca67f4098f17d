package stories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/mail"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadersOfDigestsGetOneOfWhatWasPosted(t *testing.T) {
	list := newList(t, []string{"digest_send_periodic=false"}, "ann@net.test")
	name, _, _ := strings.Cut(list, "@")
	readers := map[string]string{"mime@net.test": "mime_digests", "plain@net.test": "plaintext_digests", "sum@net.test": "summary_digests", "left@net.test": "mime_digests"}
	for reader, mode := range readers {
		command(t, "member", "add", list, reader, "--mode", mode)
	}
	for i := range 3 {
		text := strings.NewReplacer("Message-ID: <", fmt.Sprintf("Message-ID: <%d.", i), "Hello.", fmt.Sprintf("Hello number %d.", i)).
			Replace(message(t, "Ann <ann@net.test>", list, fmt.Sprintf("news %d", i)))
		send(t, "ann@net.test", list, text)
		delivered(t, fmt.Sprintf("%d.%s@net.test", i, id(t)), 1)
	}
	command(t, "member", "set", list, "left@net.test", "--mode", "regular") // and gets this one as the last
	command(t, "digest", "send", list)

	subject := fmt.Sprintf("Subject: %s Digest, Vol 1, Issue 1", name)
	for reader, texts := range map[string][]string{
		"mime@net.test":  {"Content-Type: multipart/mixed", "Content-Type: multipart/digest", "Message: 3\r\n", "Hello number 0.", "Hello number 2."},
		"left@net.test":  {"Content-Type: multipart/digest", "Hello number 1."},
		"plain@net.test": {"Message: 1\r\n", strings.Repeat("-", 70), "Hello number 2.\r\n", "End of " + name + " Digest, Vol 1, Issue 1"},
		"sum@net.test":   {"Today's Topics:", "   3. news 2\r\n"},
	} {
		text := received(t, reader, append(texts, "List-Id: <"+name+".lists.test>")...)
		if !bytes.Contains(unfold(text), []byte(subject)) || bytes.Contains(unfold(text), []byte("Subject: ["+name+"] "+name+" Digest")) {
			t.Errorf("%s got\n%s", reader, text)
		}
		m, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if from := m.Header.Get("From"); !strings.Contains(from, name+"-request@lists.test") {
			t.Errorf("%s has it from %s", reader, from)
		}
		if m.Header.Get("DKIM-Signature") == "" {
			t.Errorf("%s got it without a signature:\n%s", reader, text)
		}
	}
	eventually(t, "the digest on its way", func() bool { return strings.Contains(command(t, "digest", "ls", list, "--json"), `"filed"`) })
	for reader := range readers {
		n := 0
		for _, tx := range out.Transactions() {
			if slices.Contains(tx.Recipients, reader) && bytes.Contains(unfold(tx.Body), []byte(subject)) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s got %d digests", reader, n)
		}
	}
}

func TestWhatWasPostedIsInTheArchive(t *testing.T) {
	list := newList(t, []string{"archive_url=https://archives.test/here"}, "ann@net.test")
	send(t, "ann@net.test", list, message(t, "Ann <ann@net.test>", list, "to keep"))
	private := strings.NewReplacer("Message-ID: <", "Message-ID: <no.", "Subject:", "X-No-Archive: yes\r\nSubject:").Replace(message(t, "Ann <ann@net.test>", list, "not to keep"))
	send(t, "ann@net.test", list, private)
	_, text := delivered(t, id(t)+"@net.test", 1)
	delivered(t, "no."+id(t)+"@net.test", 1)
	var posts []struct {
		Number, Size  int64
		Hash, Subject string
	}
	if err := json.Unmarshal([]byte(command(t, "archive", "ls", list, "--json")), &posts); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(list, "@")
	if len(posts) != 1 || posts[0].Number != 1 || posts[0].Subject != "["+name+"] to keep" {
		t.Fatalf("archive has %+v", posts)
	}
	if !bytes.Contains(unfold(text), []byte("Archived-At: <https://archives.test/here/message/"+posts[0].Hash+"/>")) {
		t.Errorf("the post does not tell where it is kept:\n%s", text)
	}
	kept := command(t, "archive", "show", list, "1", "--message")
	if int64(len(kept)) != posts[0].Size || !strings.HasSuffix(kept, "\r\n\r\nHello.\r\n") || !strings.Contains(kept, "Message-ID: <"+id(t)+"@net.test>\r\n") {
		t.Errorf("kept is\n%s", kept)
	}
	mbox := filepath.Join(t.TempDir(), "mbox")
	command(t, "archive", "export", list, "--mbox", mbox)
	command(t, "archive", "verify", list)
}
