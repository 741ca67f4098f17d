package sqlstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
)

// Tests of several processes run the test program again, as a child that does one of
// these jobs on the store at a path and says what it has done, a line for each.
var jobs = map[string]func(ctx context.Context, url, name string) error{
	"migrate": func(ctx context.Context, url, _ string) error {
		s, err := Open(ctx, url, Options{Migrate: true})
		if err != nil {
			return err
		}
		defer s.Close()
		return s.Ping(ctx)
	},
	"file":     filePosts,
	"import":   importMembers,
	"transfer": transferTo,
}

const jobVariable = "SQLSTORE_TEST_JOB"

func TestMain(m *testing.M) {
	job := os.Getenv(jobVariable)
	if job == "" {
		os.Exit(m.Run())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := jobs[job](ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, job, os.Args[2], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// posts and imports are how much a child does, unless it is killed before.
const posts, imports = 60, 4

func filePosts(ctx context.Context, url, name string) error {
	s, err := Open(ctx, url, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := s.List(ctx, address.Address{Local: "dev", Domain: "lists.test"})
	if err != nil {
		return err
	}
	for i := range posts {
		entry := fmt.Sprint(name, "-", i)
		r, err := s.FilePost(ctx, store.Post{ListID: l.ID, Entry: entry, Digest: []byte(entry), At: time.Now()}, true, time.Hour)
		if err != nil {
			return err
		}
		fmt.Println(r.Number, entry)
	}
	return nil
}

func importMembers(ctx context.Context, url, name string) error {
	s, err := Open(ctx, url, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := s.List(ctx, address.Address{Local: "ops", Domain: "lists.test"})
	if err != nil {
		return err
	}
	for i := range imports {
		r, err := s.AddMembers(ctx, l.ID, someMembers((i+1)*5_000), nil)
		if err != nil {
			return err
		}
		fmt.Println(r.Added+r.Existing, name)
	}
	return nil
}

// child is a process that does a job.
type child struct {
	cmd    *exec.Cmd
	out    *bufio.Scanner
	errors strings.Builder
}

func start(t *testing.T, job, url, name string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.CommandContext(t.Context(), exe, url, name)}
	c.cmd.Env = append(os.Environ(), jobVariable+"="+job)
	c.cmd.Stderr = &c.errors
	var out io.ReadCloser
	if out, err = c.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// said reads up to so many lines of what the child has done.
func (c *child) said(lines int) []string {
	var out []string
	for len(out) < lines && c.out.Scan() {
		out = append(out, c.out.Text())
	}
	return out
}

func TestProcessesThatStartAtOnceMakeOneStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.db")
	var children []*child
	for i := range 4 {
		children = append(children, start(t, "migrate", "sqlite:"+path, strconv.Itoa(i)))
	}
	for _, c := range children {
		c.said(1)
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, &c.errors)
		}
	}
	s := openAt(t, path)
	var made int
	if err := s.writer.QueryRow(`SELECT count(*) FROM schema_version WHERE version_id = 1`).Scan(&made); err != nil || made != 1 {
		t.Errorf("the first migration was made %d times, %v", made, err)
	}
}

// Five processes write at once. Two of them are killed in the middle; what any of them
// said it had done is there afterwards, and the others end as they should.
func TestKilledWriterLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.db")
	s := openAt(t, path)
	dev, ops := makeList(t, s, "dev"), makeList(t, s, "ops")
	url := "sqlite:" + path
	filers := []*child{start(t, "file", url, "a"), start(t, "file", url, "b"), start(t, "file", url, "killed")}
	importers := []*child{start(t, "import", url, "c"), start(t, "import", url, "killed")}

	entries := map[string]string{} // by number
	note := func(lines []string) {
		for _, line := range lines {
			number, entry, _ := strings.Cut(line, " ")
			if other, ok := entries[number]; ok {
				t.Errorf("%s and %s both have number %s", other, entry, number)
			}
			entries[number] = entry
		}
	}
	note(filers[2].said(10))
	kill(t, filers[2])
	importers[1].said(1)
	kill(t, importers[1])
	note(filers[2].said(posts)) // what it said before it died
	filers[2].cmd.Wait()
	importers[1].cmd.Wait()
	for _, c := range filers[:2] {
		note(c.said(posts))
	}
	importers[0].said(imports)
	for _, c := range []*child{filers[0], filers[1], importers[0]} {
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, &c.errors)
		}
	}
	checkFiled(t, s, dev.ID, entries)
	if n, err := s.CountMembers(t.Context(), ops.ID, store.Filter{}); n != imports*5_000 || err != nil {
		t.Errorf("%d members, %v", n, err)
	}
}

func kill(t *testing.T, c *child) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// checkFiled compares the journal with what was said, and checks the database itself.
func checkFiled(t *testing.T, s *Store, listID int64, said map[string]string) {
	t.Helper()
	if len(said) < 2*posts+10 {
		t.Errorf("only %d posts were said to be filed", len(said))
	}
	rows, err := s.reader.Query(`SELECT number, entry FROM posts WHERE list_id = $1`, listID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := map[string]string{}
	for rows.Next() {
		var number, entry string
		if err := rows.Scan(&number, &entry); err != nil {
			t.Fatal(err)
		}
		stored[number] = entry
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for number, entry := range said {
		if stored[number] != entry {
			t.Errorf("number %s was said to be %s, and is %q", number, entry, stored[number])
		}
	}
	for number := range len(stored) { // the killed one may have filed one more than it said
		if stored[strconv.Itoa(number+1)] == "" {
			t.Errorf("number %d of %d is missing", number+1, len(stored))
		}
	}
	var result string
	if err := s.reader.QueryRow(`PRAGMA integrity_check`).Scan(&result); err != nil || result != "ok" {
		t.Errorf("integrity check: %q, %v", result, err)
	}
	var orphans int
	if err := s.reader.QueryRow(`SELECT count(*) FROM pragma_foreign_key_check`).Scan(&orphans); err != nil || orphans != 0 {
		t.Errorf("%d rows have no list, %v", orphans, err)
	}
}
