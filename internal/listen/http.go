package listen

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// answering is for how long an answer under way is waited for at the end.
const answering = time.Second

// HTTP has s answer on l until ctx ends, and closes l. Then it waits for answers under way, but
// not for long: who did not finish a request gets none. What peers get wrong is not logged.
func HTTP(ctx context.Context, l net.Listener, s *http.Server) error {
	s.ErrorLog = log.New(io.Discard, "", 0)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		_ = s.Close() // it listens no more
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), answering)
	defer cancel()
	if s.Shutdown(end) != nil {
		_ = s.Close()
	}
	<-ended
	return nil
}
