package lmtpd

// Tracer is told of each message that was kept, for people who ask later; package trace
// says which kinds there are. It must not fail and should not take long.
type Tracer interface {
	Trace(entry, list, kind string, args ...any)
}

type noTracer struct{}

func (noTracer) Trace(string, string, string, ...any) {}

// SetTracer makes t hear of everything; it is called before Run.
func (d *Daemon) SetTracer(t Tracer) { d.tracer = t }
