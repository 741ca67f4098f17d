package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

var about = About{Made: time.Date(2026, 11, 26, 1, 2, 3, 0, time.UTC), Version: "1.0", Hostname: "lists.test", Config: "/etc/mlist/mlist.toml", Parts: []string{"config", "spool"}}

// sample is a backup of three files.
func sample(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, about)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range [][2]string{{"config/mlist.toml", "hostname = \"lists.test\"\n"}, {"spool/incoming/x", strings.Repeat("m", 2000)}, {"spool/incoming/" + strings.Repeat("y", 150), ""}} {
		if err := w.Add(Member{Name: f[0], Size: int64(len(f[1])), Mode: 0o640, User: "mlist", Group: "mlist"}, strings.NewReader(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	var have []string
	a, s, err := Read(bytes.NewReader(sample(t)), func(_ About, m Member, r io.Reader) error {
		text, err := io.ReadAll(r)
		have = append(have, m.Name+" "+m.Mode.String()+" "+m.User+" "+string(text[:min(8, len(text))]))
		return err
	})
	want := []string{"config/mlist.toml -rw-r----- mlist hostname", "spool/incoming/x -rw-r----- mlist mmmmmmmm", "spool/incoming/" + strings.Repeat("y", 150) + " -rw-r----- mlist "}
	if err != nil || !slices.Equal(have, want) {
		t.Errorf("%v: %q", err, have)
	}
	if a.Hostname != "lists.test" || !a.Made.Equal(about.Made) || s.Files != 3 || s.Parts["spool"] != 2 {
		t.Errorf("%+v, %+v", a, s)
	}
}

// No part of a backup is taken for a whole one, and no octet can be another unnoticed.
func TestACutOrChangedBackupIsNoBackup(t *testing.T) {
	whole := sample(t)
	for n := 0; n < len(whole); n += 37 {
		if _, _, err := Read(bytes.NewReader(whole[:n]), nil); !errors.Is(err, ErrDamaged) {
			t.Fatalf("the first %d of %d octets: %v", n, len(whole), err)
		}
	}
	if _, _, err := Read(bytes.NewReader(whole[:len(whole)-1]), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("the last octet is missing: %v", err)
	}
	taken := 0
	const each = 5
	for n := 0; n < len(whole); n += each {
		bad := bytes.Clone(whole)
		bad[n] ^= 0x20
		a, s, err := Read(bytes.NewReader(bad), nil)
		if err == nil && (s.Files != 3 || a.Hostname != "lists.test") {
			t.Errorf("octet %d was changed: %+v, %+v", n, a, s)
		}
		if err == nil {
			taken++
		}
	}
	// What is left: the blanks in a header that end its checksum, and what follows the
	// attributes of a name that is long.
	if most := (2*6 + 512) / each; taken > most {
		t.Errorf("%d changes were not noticed", taken)
	}
	if _, _, err := Read(io.MultiReader(bytes.NewReader(whole), strings.NewReader("more")), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("something after the end: %v", err)
	}
	if _, _, err := Read(bytes.NewReader(append(bytes.Clone(whole), make([]byte, 9000)...)), nil); err != nil {
		t.Errorf("padded as tapes are: %v", err)
	}
}

func TestReadRefusesWhatNoWriterWrote(t *testing.T) {
	text := `{"format": 1, "parts": ["config", "spool"]}`
	first := tar.Header{Typeflag: tar.TypeReg, Name: aboutName, Size: int64(len(text)), Mode: 0o600}
	for name, h := range map[string]tar.Header{
		"an absolute path":       {Typeflag: tar.TypeReg, Name: "/etc/cron.d/x"},
		"a path that leads out":  {Typeflag: tar.TypeReg, Name: "spool/../../x"},
		"one that ends outside":  {Typeflag: tar.TypeReg, Name: "spool/.."},
		"a part of itself":       {Typeflag: tar.TypeReg, Name: "spool"},
		"another part":           {Typeflag: tar.TypeReg, Name: "bin/sh"},
		"a part that it has not": {Typeflag: tar.TypeReg, Name: "store/mlist.db"},
		"a line break":           {Typeflag: tar.TypeReg, Name: "spool/a\nb"},
		"a symbolic link":        {Typeflag: tar.TypeSymlink, Name: "spool/a", Linkname: "/etc"},
		"a link":                 {Typeflag: tar.TypeLink, Name: "spool/a", Linkname: "/etc/shadow"},
		"a device":               {Typeflag: tar.TypeChar, Name: "spool/a"},
		"a pipe":                 {Typeflag: tar.TypeFifo, Name: "spool/a"},
		"a directory":            {Typeflag: tar.TypeDir, Name: "spool/a/"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			err := w.WriteHeader(&first)
			if err == nil {
				_, err = io.WriteString(w, text)
			}
			if err == nil {
				err = w.WriteHeader(&h)
			}
			if err = errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			_, _, err = Read(&b, func(_ About, m Member, _ io.Reader) error {
				t.Errorf("handed out: %+v", m)
				return nil
			})
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAddRefusesNamesAndSizesThatAreNot(t *testing.T) {
	w, err := NewWriter(io.Discard, about)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "x", "spool", "spool/", "spool//a", "/spool/a", "spool/a\nb", "spool/../a"} {
		if err := w.Add(Member{Name: name}, strings.NewReader("")); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if err := w.Add(Member{Name: "spool/a", Size: 10}, strings.NewReader("short")); err == nil {
		t.Error("a file that has become shorter is taken")
	}
	if err := w.Close(); err == nil {
		t.Error("there is an end after an error")
	}
}

func FuzzRead(f *testing.F) {
	whole := sample(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("mlist-backup.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, s, err := Read(bytes.NewReader(data), func(a About, m Member, r io.Reader) error {
			if err := checkName(m.Name); err != nil {
				t.Errorf("handed out: %v", err)
			}
			n, err := io.Copy(io.Discard, r)
			if n > int64(len(data)) {
				t.Errorf("%d octets of %d", n, len(data))
			}
			return err
		})
		if err == nil && s.Bytes > int64(len(data)) {
			t.Errorf("%d octets of %d", s.Bytes, len(data))
		}
	})
}
