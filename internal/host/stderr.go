package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Limits on what a plugin prints.
const (
	maxLine  = 16 << 10 // bytes of a line; the rest is dropped
	maxRate  = 200      // lines a second; the rest is counted
	tailSize = 20       // lines kept to tell why a plugin died
	tailLine = 400      // bytes of each
)

// stderrLog turns what a plugin prints into log records. go-plugin has a parser of its
// own that fails on JSON of unexpected types; it is switched off (see silent).
type stderrLog struct {
	now func() time.Time

	mu      sync.Mutex
	logger  *slog.Logger
	line    []byte
	tail    []string
	cause   string // the line that says why the program crashed
	second  time.Time
	count   int // lines in this second
	dropped int
}

func newStderrLog(logger *slog.Logger) *stderrLog {
	return &stderrLog{logger: logger, now: time.Now}
}

// logTo changes the logger, while the plugin may be printing.
func (l *stderrLog) logTo(logger *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logger = logger
}

// Write implements io.Writer; it never fails.
func (l *stderrLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		piece := rest
		if i >= 0 {
			piece = rest[:i]
		}
		l.line = append(l.line, piece[:min(len(piece), maxLine-len(l.line))]...)
		if i < 0 {
			break
		}
		l.end()
		rest = rest[i+1:]
	}
	return len(p), nil
}

// end takes a whole line.
func (l *stderrLog) end() {
	line := bytes.TrimRight(l.line, "\r")
	defer func() { l.line = l.line[:0] }()
	if len(line) == 0 {
		return
	}
	text := printable(string(line))
	if l.cause == "" && isCause(text) {
		l.cause = cut(text, tailLine)
	}
	if l.tail = append(l.tail, cut(text, tailLine)); len(l.tail) > tailSize {
		l.tail = slices.Delete(l.tail, 0, 1)
	}
	if !l.allow() {
		return
	}
	r := record(line, text)
	l.logger.LogAttrs(context.Background(), r.level, r.message, r.attrs...)
}

// isCause knows how the Go runtime begins to say why it ends a program.
func isCause(line string) bool {
	for _, begin := range []string{"panic: ", "fatal error: ", "runtime: ", "runtime/cgo: ", "SIG"} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// allow counts lines, so that a plugin gone mad cannot fill the disk through the log.
func (l *stderrLog) allow() bool {
	if now := l.now(); now.Sub(l.second) >= time.Second {
		if l.dropped > 0 {
			l.logger.Warn("plugin prints too much", "dropped_lines", l.dropped)
		}
		l.second, l.count, l.dropped = now, 0, 0
	}
	if l.count++; l.count > maxRate {
		l.dropped++
		return false
	}
	return true
}

// last tells what was printed last: the line that names the crash, and the tail.
func (l *stderrLog) last() (cause string, tail []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != "" {
		return l.cause, slices.Clone(l.tail)
	}
	if len(l.tail) > 0 {
		cause = l.tail[len(l.tail)-1]
	}
	return cause, slices.Clone(l.tail)
}

// parsed is a line as a log record.
type parsed struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
}

// record reads a line that log/slog's JSON handler wrote. Any other is a record at
// level info with the line as its message.
func record(line []byte, text string) parsed {
	plain := parsed{level: slog.LevelInfo, message: text}
	if line[0] != '{' {
		return plain
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return plain
	}
	message, ok := fields[slog.MessageKey].(string)
	if !ok {
		return plain
	}
	p := parsed{level: slog.LevelInfo, message: printable(message)}
	if level, ok := fields[slog.LevelKey].(string); ok {
		if p.level.UnmarshalText([]byte(level)) != nil {
			p.level = slog.LevelInfo
		}
	}
	for _, key := range []string{slog.MessageKey, slog.LevelKey, slog.TimeKey} {
		delete(fields, key)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value, ok := fields[key].(string)
		if !ok {
			value = fmt.Sprint(fields[key])
		}
		p.attrs = append(p.attrs, slog.String(printable(key), printable(value)))
	}
	return p
}

// printable makes text of a plugin fit for a log: a terminal must not obey it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
