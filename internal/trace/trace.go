// Package trace keeps what happened to each message: a journal of events, one JSON
// object a line, one file a day (UTC), beside the queues.
//
// It is there for people who ask where a message is, and nothing depends on it. An
// event is one write to a file opened for appending: several processes write to the
// same file, and a process that is killed loses no event that it had written. Nothing
// is synced, so a power cut may lose the last ones. A journal that cannot be written is
// logged once, and mail goes on without it. Files older than a configured age go, and the
// oldest when all together are larger than a configured size.
package trace

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Kinds of event. The keys that an event of each kind has beside the common ones are
// named with it.
const (
	Kept      = "kept"      // in a queue, on stable storage: queue, role, sender, recipient, peer, size, flags, message_id
	Stages    = "stages"    // what the stages decided: stages, verdict, stage, code, reason, try, notes
	Held      = "held"      // waits for a moderator: stage, code, reason
	Decided   = "decided"   // by a moderator, on the command line: decision, by
	Rejected  = "rejected"  // code, reason, notice: whether the sender is told
	Discarded = "discarded" // stage, code, reason
	Deferred  = "deferred"  // a try failed: tries, due, reason
	Failed    = "failed"    // the last try failed: tries, reason
	Prepared  = "prepared"  // about to become visible to outbound: role, number, recipients, chunks, sender
	Committed = "committed" // and now it is: took_us
	Waits     = "waits"     // a transaction came to nothing: chunk, reason
	Sent      = "sent"      // a transaction with the MTA, and what came of it: chunk, accepted, deferred, refused, left, replies, ms
	Bounced   = "bounced"   // refusals became an entry of bounces: chunk, recipients, as
	Filed     = "filed"     // a bounce was filed in the journal of the list: recipients
	Recalled  = "recalled"  // an operator took back what was left: recipients, by
	Dropped   = "dropped"   // what a stage submitted: stage, by, reason
	Done      = "done"      // nothing is left to do: reason
)

// Keys that have a meaning for whoever looks for events.
const (
	KeyMessageID = "message_id" // of the message, with its angle brackets
	KeyOf        = "of"         // the entry that this one was made for: of a bounce, the post
)

// Reply is what the MTA said to some recipient, in Sent.
type Reply struct {
	Recipient string `json:"recipient"`
	Outcome   string `json:"outcome"` // "deferred" or "refused"
	Reply     string `json:"reply"`
}

// Stage is what one stage decided, in Stages.
type Stage struct {
	Stage   string `json:"stage"`
	Verdict string `json:"verdict"`
	Took    int64  `json:"took_us"` // microseconds
}

// Options tune a journal.
type Options struct {
	Keep time.Duration // files whose day ended longer ago are removed; 0 keeps all
	// MaxSize is for all files together: the oldest days are removed to keep it. When the
	// day's own file has it alone, the rest of the day is not written. 0 is no limit.
	MaxSize int64
	// Existing leaves it to others to make the file of the day: an administrator's command
	// may run as another user than the daemons, who could not write to a file of its.
	Existing bool
	Log      *slog.Logger // is told when the journal cannot be written, and when it can again
}

// Journal writes events. Its methods may be called from any goroutine, and on a nil
// Journal they do nothing.
type Journal struct {
	dir  string
	opts Options
	now  func() time.Time

	mu     sync.Mutex
	file   *os.File
	name   string    // of file
	looked time.Time // when file was last known to be the one of that name
	torn   bool      // the file may end in the middle of a line
	size   int64     // of the file, when it was last looked at
	judged int64     // and when the sizes of all were
	ill    bool      // the last write failed, and that was logged
	again  time.Time // not before this is the next attempt after a failure
	buf    []byte
}

const (
	suffix  = ".jsonl"
	dayForm = "2006-01-02"
	// look is how often a writer makes sure that its file is still there: it may be
	// removed by hand.
	look = time.Second
	// rest is how long a journal that failed is left alone: a disk in trouble is not
	// asked again for every event.
	rest = time.Second
)

// New makes a journal in dir. Nothing is touched before the first event.
func New(dir string, opts Options) *Journal {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Journal{dir: dir, opts: opts, now: time.Now, buf: make([]byte, 0, maxLine)}
}

// Trace writes an event: of which entry, which list, what happened, and pairs of keys
// and values, as slog has them.
func (j *Journal) Trace(entry, list, kind string, args ...any) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now().UTC()
	if j.ill && now.Before(j.again) {
		return
	}
	err := j.ready(now)
	if err == nil {
		err = j.write(now, entry, list, kind, args)
	}
	j.tell(now, err)
}

// write appends one line, by one write.
func (j *Journal) write(now time.Time, entry, list, kind string, args []any) error {
	j.buf = j.buf[:0]
	if j.torn {
		j.buf = append(j.buf, '\n') // what was cut off stays a line of its own, which no reader takes
	}
	j.buf = appendEvent(j.buf, now, entry, list, kind, args)
	n, err := j.file.Write(j.buf)
	if n > 0 {
		j.torn = n < len(j.buf)
	}
	return err
}

// ready sees to it that the file of the day is open.
func (j *Journal) ready(now time.Time) error {
	name := filepath.Join(j.dir, now.Format(dayForm)+suffix)
	if j.file != nil && j.name == name {
		if now.Sub(j.looked) < look && !now.Before(j.looked) {
			return nil
		}
		j.looked = now
		if j.there() {
			return j.bound(now)
		}
	}
	j.close()
	flags := os.O_RDWR | os.O_APPEND
	if !j.opts.Existing {
		flags |= os.O_CREATE
		if err := os.MkdirAll(j.dir, 0o700); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return err
	}
	j.file, j.name, j.looked = f, name, now
	j.torn, j.judged = endsTorn(f), -1
	if err := j.expire(now); err != nil {
		return err
	}
	if !j.there() {
		return fmt.Errorf("%s is gone at once", name)
	}
	return j.bound(now)
}

// there tells whether the file's name still stands for it.
func (j *Journal) there() bool {
	have, err := j.file.Stat()
	if err != nil {
		return false
	}
	j.size = have.Size()
	named, err := os.Stat(j.name)
	return err == nil && os.SameFile(have, named)
}

// endsTorn tells whether a file ends in the middle of a line, as a full disk or a power
// cut leave it.
func endsTorn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err != nil || last[0] != '\n'
}

// expire removes the files of days that ended too long ago.
func (j *Journal) expire(now time.Time) error {
	if j.opts.Keep <= 0 || j.opts.Existing {
		return nil
	}
	names, err := days(j.dir)
	if err != nil {
		return err
	}
	oldest := now.Add(-j.opts.Keep).Format(dayForm)
	for _, day := range names {
		if day >= oldest {
			break
		}
		// Another process may have been quicker.
		if err := os.Remove(filepath.Join(j.dir, day+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old file: %w", err)
		}
	}
	return nil
}

// errFull ends a day's writing.
var errFull = errors.New("the day's file is as large as all may be (trace.max_size)")

// bound removes the oldest days while all files together are too large. It looks at them
// when the day's file has grown by a part of what is allowed.
func (j *Journal) bound(now time.Time) error {
	most := j.opts.MaxSize
	if most <= 0 {
		return nil
	}
	if j.size >= most {
		return errFull
	}
	if j.opts.Existing || j.judged >= 0 && j.size-j.judged < most/100 {
		return nil
	}
	j.judged = j.size
	names, err := days(j.dir)
	if err != nil {
		return err
	}
	sizes, all := map[string]int64{}, int64(0)
	for _, day := range names {
		info, err := os.Stat(filepath.Join(j.dir, day+suffix))
		if err == nil { // another process may have removed it
			sizes[day] = info.Size()
			all += info.Size()
		}
	}
	today := now.Format(dayForm)
	for _, day := range names {
		if all <= most || day >= today {
			break
		}
		if err := os.Remove(filepath.Join(j.dir, day+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old file: %w", err)
		}
		all -= sizes[day]
	}
	return nil
}

// tell logs the first failure and the recovery.
func (j *Journal) tell(now time.Time, err error) {
	switch {
	case err != nil:
		j.again = now.Add(rest)
		if !j.ill {
			j.opts.Log.Error("the trace of messages cannot be written; mail goes on without it", "err", err)
		}
		j.close()
		j.ill = true
	case j.ill:
		j.ill = false
		j.opts.Log.Info("the trace of messages is written again")
	}
}

func (j *Journal) close() {
	if j.file != nil {
		_ = j.file.Close() // nothing waits in it
		j.file = nil
	}
}

// Close closes the file. An event after that opens it again.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.close()
	return nil
}

// days lists the days that dir has a file of, oldest first. A directory that is not
// there has none.
func days(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		day, ok := strings.CutSuffix(e.Name(), suffix)
		if _, err := time.Parse(dayForm, day); ok && err == nil && e.Type().IsRegular() {
			out = append(out, day)
		}
	}
	return out, nil
}
