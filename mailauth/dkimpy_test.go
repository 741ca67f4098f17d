package mailauth

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// verifier asks dkimpy, another program with code of its own.
const verifier = `
import json, sys
import dkim
job = json.load(sys.stdin)
records = {k: v[0].encode() for k, v in job["dns"].items()}
def txt(name, timeout=5):
    return records.get(name.decode().rstrip(".").lower())
msg = job["message"].encode("latin-1")
out = {"dkim": [], "arc": "none"}
n = sum(1 for l in msg.split(b"\r\n\r\n")[0].split(b"\r\n") if l.lower().startswith(b"dkim-signature:"))
for i in range(n):
    try:
        out["dkim"].append("pass" if dkim.DKIM(msg).verify(idx=i, dnsfunc=txt) else "fail")
    except dkim.DKIMException as e:
        out["dkim"].append("fail" if "body hash" in str(e) else str(e))
cv, _, why = dkim.arc_verify(msg, dnsfunc=txt)
out["arc"] = cv.decode() if cv else "none"
if out["arc"] == "fail": out["why"] = str(why)
print(json.dumps(out))
`

// TestAnotherVerifierAgrees has dkimpy judge what is signed and sealed here. It needs
// Debian's python3-dkim (and python3-nacl for Ed25519).
func TestAnotherVerifierAgrees(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command("../test/install-dkimpy").CombinedOutput(); err != nil || len(out) > 0 {
		t.Logf("%s %v", out, err)
	}
	if out, err := exec.Command(python, "-c", "import dkim, nacl").CombinedOutput(); err != nil {
		t.Skipf("without dkimpy there is no second verifier (apt-get install python3-dkim python3-nacl): %v %s", err, out)
	}
	k, ed := rsaKey("lists.example.net", "2026a"), edKey("lists.example.net", "2026e")
	chain, dns := chainOf(t, 3)
	for name, records := range published(t, []*Key{k, ed}) {
		dns[name] = records
	}
	for name, msg := range map[string]string{
		"signed":                          signed(t, k, mail),
		"signed by both":                  signed(t, ed, signed(t, k, mail)),
		"sealed thrice":                   chain,
		"sealed, then signed, and sealed": sealed(t, k, dns, signed(t, k, chain)),
		"8-bit":                           signed(t, k, "From: a@b.example\r\nSubject: caf\xc3\xa9\r\n\r\n\xff\r\n"),
		// Not before the colon: dkimpy takes such a line for no field.
		"odd white space": signed(t, k, "From:\ta@b.example\r\nSubject:\r\n x \t\r\n y\r\n\r\n a  b \t\r\n\r\n"),
		"empty body":      signed(t, k, "From: a@b.example\r\n\r\n"),
		"changed body":    strings.Replace(sealed(t, k, dns, signed(t, k, chain)), "Hello", "Hallo", 1),
		"changed header":  strings.Replace(sealed(t, k, dns, signed(t, k, chain)), "a topic", "b topic", 1),
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder // as Latin-1, for JSON cannot carry octets
			for i := range len(msg) {
				text.WriteRune(rune(msg[i]))
			}
			job, err := json.Marshal(map[string]any{"message": text.String(), "dns": dns})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(python, "-c", verifier)
			cmd.Stdin = strings.NewReader(string(job))
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("dkimpy: %v", err)
			}
			var theirs struct {
				DKIM []string
				ARC  string
				Why  string
			}
			if err := json.Unmarshal(out, &theirs); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			ours := verify(t, dns, msg)
			if len(theirs.DKIM) != len(ours.DKIM) || theirs.ARC != string(ours.ARC.Result) {
				t.Fatalf("dkimpy %+v, here %+v", theirs, ours)
			}
			for i, s := range ours.DKIM {
				if theirs.DKIM[i] != string(s.Result) {
					t.Errorf("signature %d: dkimpy says %s, here it is %+v", i, theirs.DKIM[i], s)
				}
			}
		})
	}
}
