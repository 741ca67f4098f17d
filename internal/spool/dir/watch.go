package dir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watcher reads the names of files that appear in a directory.
type watcher struct {
	f      *os.File // non-blocking, so that Close ends a Read
	events chan []string
	lost   chan struct{} // events were lost: look at the directory
	done   chan struct{}
}

const watched = unix.IN_MOVED_TO | unix.IN_CREATE | unix.IN_ONLYDIR

// watch starts a goroutine that close waits for.
func watch(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify (is fs.inotify.max_user_instances too low?): %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, watched); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	w := &watcher{
		f:      os.NewFile(uintptr(fd), "inotify"),
		events: make(chan []string),
		lost:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	return w, nil
}

// run hands out names until stop or close. It blocks while nobody takes them; the
// kernel then keeps events, and tells when it had to drop some.
func (w *watcher) run(stop <-chan struct{}) {
	defer close(w.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.tellLost()
			}
			return
		}
		names, lost := parseEvents(buf[:n])
		if lost {
			w.tellLost()
		}
		if len(names) == 0 {
			continue
		}
		select {
		case w.events <- names:
		case <-stop:
			return
		}
	}
}

func (w *watcher) tellLost() {
	select {
	case w.lost <- struct{}{}:
	default:
	}
}

func (w *watcher) close() {
	w.f.Close()
	<-w.done
}

// parseEvents reads struct inotify_event records, see inotify(7).
func parseEvents(b []byte) (names []string, lost bool) {
	for len(b) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(b[4:])
		length := binary.NativeEndian.Uint32(b[12:])
		if int64(length) > int64(len(b)-unix.SizeofInotifyEvent) {
			return names, true
		}
		end := unix.SizeofInotifyEvent + int(length)
		if mask&unix.IN_Q_OVERFLOW != 0 {
			lost = true
		}
		if name := bytes.TrimRight(b[unix.SizeofInotifyEvent:end], "\x00"); len(name) > 0 {
			names = append(names, string(name))
		}
		b = b[end:]
	}
	return names, lost
}

// wait waits until a time, a kick or an event, whichever comes first. It returns the
// names that were seen, and whether events were lost; ok is false after stop.
func (w *watcher) wait(timer *time.Timer, until time.Time, kick, stop <-chan struct{}) (names []string, lost, ok bool) {
	timer.Reset(max(time.Until(until), time.Microsecond))
	select {
	case <-stop:
		return nil, false, false
	case names = <-w.events:
	case <-w.lost:
		lost = true
	case <-kick:
	case <-timer.C:
	}
	return names, lost, true
}

// earlier returns the earlier of two times, of which the second may be zero for never.
func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// atMicros is the time of a due stamp; 0 is never.
func atMicros(due int64) time.Time {
	if due == 0 {
		return time.Time{}
	}
	return time.UnixMicro(due)
}
