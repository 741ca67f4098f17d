package sdk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk/proto"
)

// Server is a plugin without its process: the service of plugin.proto, filled by
// stages. Serve serves one; tests may call one directly.
type Server struct {
	proto.UnimplementedPluginServer
	name, version string
	stages        []Stage
	byName        map[string]*Stage
	grace         time.Duration
	now           func() time.Time
	served        func() // called at every Describe; nil is nothing

	mu       sync.Mutex
	hostname string
	host     proto.HostClient // nil: nobody to ask
	known    revisions
	calls    map[*call]struct{}
	draining bool
	idle     chan struct{} // closed when draining and no call is left
}

// call is one Handle under way.
type call struct {
	ctx   context.Context
	stage string
	over  time.Time // when its context ended, as far as Health knows
}

// NewServer makes a plugin of stages. Its errors are mistakes in the program: no name,
// no stage, a stage without a name or a handler, or two of the same name.
func NewServer(name, version string, stages ...Stage) (*Server, error) {
	if name == "" {
		return nil, errors.New("a plugin needs a name")
	}
	if len(stages) == 0 {
		return nil, errors.New("a plugin needs a stage")
	}
	grace := os.Getenv(GraceKey)
	if grace == "" {
		grace = defaultGrace
	}
	d, err := time.ParseDuration(grace)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", GraceKey, err)
	}
	s := &Server{name: name, version: version, stages: slices.Clone(stages), byName: map[string]*Stage{},
		grace: d, now: time.Now, calls: map[*call]struct{}{}, idle: make(chan struct{})}
	for i := range s.stages {
		st := &s.stages[i]
		switch {
		case st.Name == "":
			return nil, errors.New("a stage needs a name")
		case st.Handler == nil:
			return nil, fmt.Errorf("stage %s needs a handler", st.Name)
		case s.byName[st.Name] != nil:
			return nil, fmt.Errorf("two stages are named %s", st.Name)
		}
		s.byName[st.Name] = st
	}
	return s, nil
}

// Describe tells what the plugin offers, and what it needs. An mlist that does not offer
// that is told so here: one from before there were capabilities would not look.
func (s *Server) Describe(_ context.Context, req *proto.DescribeRequest) (*proto.DescribeReply, error) {
	if s.served != nil {
		s.served()
	}
	reply := &proto.DescribeReply{Name: s.name, Version: s.version, Needs: s.needs()}
	for _, need := range reply.Needs {
		if len(req.GetCapabilities()) == 0 {
			return nil, status.Errorf(codes.FailedPrecondition, "%s %s needs %q, and mlist %s is too old to offer it", s.name, s.version, need, req.GetMlistVersion())
		}
	}
	if slices.Contains(req.GetCapabilities(), CapRevisions) {
		reply.Uses = []string{CapRevisions}
	}
	for _, st := range s.stages {
		d := &proto.Stage{Name: st.Name, Help: st.Help, AtSmtp: st.AtSMTP, AtRcpt: st.AtRCPT, Digests: st.Digests, OwnPosts: st.OwnPosts, Needs: st.needs()}
		if st.Body {
			d.Needs = append(d.Needs, "body")
		}
		if c, ok := st.Handler.(Configurer); ok {
			d.Config = configKeys(c.Config())
		}
		reply.Stages = append(reply.Stages, d)
	}
	return reply, nil
}

// needs are the capabilities that a stage asks for.
func (st *Stage) needs() []string {
	var out []string
	for _, n := range []struct {
		want       bool
		capability string
	}{{st.Members, CapMembers}, {st.State, CapState}, {st.Submit, CapSubmit}, {st.Keep || st.Digests, CapKeep}, {st.Personal, CapPersonal}} {
		if n.want {
			out = append(out, n.capability)
		}
	}
	return out
}

// needs are those of all stages.
func (s *Server) needs() []string {
	var out []string
	for i := range s.stages {
		for _, n := range s.stages[i].needs() {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// Configure hands each stage its table. A stage that is named without keys of its own
// is checked with its defaults; one that is not named will not be used.
func (s *Server) Configure(_ context.Context, req *proto.ConfigureRequest) (*proto.ConfigureReply, error) {
	s.mu.Lock()
	s.hostname = req.GetHostname()
	s.mu.Unlock()
	if err := s.dialHost(req.GetHostSocket(), req.GetHostToken()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	reply := &proto.ConfigureReply{}
	for _, name := range slices.Sorted(maps.Keys(req.GetConfig())) {
		st := s.byName[name]
		if st == nil {
			reply.Problems = append(reply.Problems, fmt.Sprintf("[plugin.%s]: %s has no stage of that name", name, s.name))
			continue
		}
		if err := configure(st.Handler, req.GetConfig()[name]); err != nil {
			reply.Problems = append(reply.Problems, fmt.Sprintf("[plugin.%s] %v", name, err))
		}
	}
	return reply, nil
}

// Handle runs stages on a post, until one does not accept it.
func (s *Server) Handle(ctx context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	c, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.leave(c)
	settings, ok := s.settings(req.GetList())
	if !ok {
		return &proto.HandleReply{UnknownRevision: true}, nil
	}
	w, err := s.work(req, settings)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	defer w.close()
	reply := &proto.HandleReply{}
	for _, name := range req.GetStages() {
		st := s.byName[name]
		if st == nil {
			return nil, status.Errorf(codes.InvalidArgument, "stage %s: %s has no stage of that name", name, s.name)
		}
		s.at(c, name)
		result, err := w.run(ctx, st)
		if err != nil {
			return nil, status.Errorf(codeOf(err), "stage %s: %s", name, clean(err.Error(), maxReason))
		}
		reply.Results = append(reply.Results, result)
		if result.GetVerdict().GetKind() != proto.Verdict_ACCEPT {
			break
		}
	}
	return reply, nil
}

// codeOf keeps the two codes that the caller may know better than the text.
func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return codes.Unknown
}

// Health fails when a call has not returned long after its context ended: its
// goroutine will not come back, and only a new process gets rid of it.
func (s *Server) Health(context.Context, *proto.HealthRequest) (*proto.HealthReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for c := range s.calls {
		if c.ctx.Err() == nil {
			continue
		}
		if c.over.IsZero() {
			c.over = now
			if end, ok := c.ctx.Deadline(); ok && end.Before(now) {
				c.over = end
			}
		}
		if late := now.Sub(c.over); late > s.grace {
			return nil, status.Errorf(codes.FailedPrecondition, "stage %s: has not returned %s after its deadline",
				c.stage, late.Round(time.Millisecond))
		}
	}
	return &proto.HealthReply{}, nil
}

// Drain refuses new calls and waits for those under way.
func (s *Server) Drain(ctx context.Context, _ *proto.DrainRequest) (*proto.DrainReply, error) {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		if len(s.calls) == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
		return &proto.DrainReply{}, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (s *Server) enter(ctx context.Context) (*call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, status.Errorf(codes.Unavailable, "%s is stopping", s.name)
	}
	c := &call{ctx: ctx}
	s.calls[c] = struct{}{}
	return c, nil
}

func (s *Server) at(c *call, stage string) {
	s.mu.Lock()
	c.stage = stage
	s.mu.Unlock()
}

func (s *Server) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, c)
	if s.draining && len(s.calls) == 0 {
		close(s.idle)
	}
}
