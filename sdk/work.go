package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

// work is one post going through stages of this plugin, each seeing the edits of those
// before it.
type work struct {
	post   Post // as the next stage shall see it
	header *message.Header
	body   *message.Body // nil if the request has none
	file   *bodyFile
	host   proto.HostClient
	call   string
	mark   string             // of placeholders
	edits  []*proto.StateEdit // of the stages so far
}

func (s *Server) work(req *proto.HandleRequest, settings map[string]string) (*work, error) {
	s.mu.Lock()
	hostname := s.hostname
	w := &work{header: message.ParseHeader(req.GetHeader()), host: s.host, call: req.GetCall(), mark: req.GetMark()}
	s.mu.Unlock()
	w.post = Post{Entry: req.GetEntry(), Number: req.GetNumber(), Approved: req.GetApproved(), Hostname: hostname,
		List: List{Address: req.GetList().GetAddress(), Settings: settings}, Envelope: readEnvelope(req.GetEnvelope()), Senders: readSenders(req.GetSenders()),
		Notes: req.GetNotes(), SubmittedBy: req.GetSubmittedBy(), AtSMTP: req.GetAtSmtp(), AtRCPT: req.GetAtRcpt()}
	if b := req.GetBody(); b != nil {
		if b.GetOffset() < 0 || b.GetLength() < 0 {
			return nil, fmt.Errorf("body at %d, %d bytes long", b.GetOffset(), b.GetLength())
		}
		w.file = &bodyFile{path: b.GetPath()}
		w.body = message.NewBody(w.file, b.GetOffset(), b.GetLength())
		for i, sp := range b.GetSplices() {
			if err := w.body.Splice(message.Splice{Offset: sp.GetOffset(), Delete: sp.GetDelete(), Insert: sp.GetInsert()}); err != nil {
				return nil, fmt.Errorf("splice %d: %w", i+1, err)
			}
		}
	}
	return w, nil
}

// close ends the use of the body's file.
func (w *work) close() {
	if w.file != nil {
		w.file.close()
	}
}

// run runs one stage, and tells what it did.
func (w *work) run(ctx context.Context, st *Stage) (*proto.StageResult, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The stage gets its own copy of all that it may assign to.
	p := w.post
	p.Header, p.Recipients = w.header, Recipients{}
	p.Notes = maps.Clone(w.post.Notes)
	if p.Notes == nil {
		p.Notes = map[string]string{}
	}
	asked := &services{host: w.host, call: w.call, needs: st.needs(), stage: st.Name, mark: w.mark, earlier: w.edits}
	p.services = asked
	ops, splices := len(w.header.Ops()), 0
	hasBody := st.Body && !w.post.AtRCPT // then there is none yet
	if hasBody {
		if w.body == nil {
			return nil, errors.New("the request has no body")
		}
		p.Body, splices = w.body, len(w.body.Splices())
	}
	begun := time.Now()
	v, err := protect(ctx, st, &p)
	took := time.Since(begun)
	if err != nil {
		return nil, err
	}
	if p.Header != w.header || hasBody && p.Body != w.body {
		return nil, errors.New("replaced the post's Header or Body instead of editing it")
	}
	verdict, err := writeVerdict(v)
	if err != nil {
		return nil, err
	}
	r := &proto.StageResult{Stage: st.Name, Verdict: verdict, DurationMicros: took.Microseconds(),
		Notes: changedNotes(w.post.Notes, p.Notes)}
	w.post.Notes = p.Notes
	asked.mu.Lock() // a handler may have left a goroutine behind
	defer asked.mu.Unlock()
	r.Counts, r.ByStanding = maps.Clone(asked.counts), asked.general && p.AtRCPT
	if v.Kind != KindAccept {
		return r, nil
	}
	r.StateEdits, r.Submissions = slices.Clone(asked.edits), slices.Clone(asked.submits)
	w.edits = slices.Concat(w.edits, r.StateEdits)
	r.Keep = slices.Clone(asked.keep)
	r.HeaderOps = writeOps(w.header.Ops()[ops:])
	if hasBody {
		r.Splices = writeSplices(w.body.Splices()[splices:])
	}
	r.Rules, err = writeRules(p.Recipients.Rules())
	return r, err
}

// protect makes an error of a panic: a mistake about one post must not cost those that
// other calls are at.
func protect(ctx context.Context, st *Stage, p *Post) (v Verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			slog.Error("handler panicked", "stage", st.Name, "entry", p.Entry, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return st.Handler.Handle(ctx, p)
}

// changedNotes returns the notes that are new or different. A note cannot be taken
// back: it may already stand beside a held post.
func changedNotes(before, after map[string]string) map[string]string {
	changed := map[string]string{}
	for k, v := range after {
		if old, ok := before[k]; !ok || old != v {
			changed[strings.ToValidUTF8(k, "\uFFFD")] = strings.ToValidUTF8(v, "\uFFFD")
		}
	}
	return changed
}

// bodyFile opens the body's file when it is first read, which most stages that want a
// body never do.
type bodyFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	err  error
}

// ReadAt implements io.ReaderAt.
func (b *bodyFile) ReadAt(p []byte, off int64) (int, error) {
	f, err := b.open()
	if err != nil {
		return 0, err
	}
	return f.ReadAt(p, off)
}

func (b *bodyFile) open() (*os.File, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil && b.err == nil {
		// Without following a link, and without waiting for a writer if it is a fifo.
		b.file, b.err = os.OpenFile(b.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	}
	return b.file, b.err
}

func (b *bodyFile) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file != nil {
		_ = b.file.Close() // only read
	}
	b.file, b.err = nil, errors.New("the post's body was read after Handle returned")
}
