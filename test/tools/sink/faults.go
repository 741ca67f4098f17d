package sink

import "time"

// Faults are chances, from 0 to 1, of failing on purpose at each point.
type Faults struct {
	// Seed of the chances: the same seed, connections and commands fail alike.
	Seed          uint64
	Greeting421   float64 // refuse the connection
	Mail4xx       float64 // 451 to MAIL
	Rcpt4xx       float64 // 451 to RCPT
	Data4xx       float64 // 451 after the message
	DropAtRcpt    float64 // close the connection at RCPT
	DropInData    float64 // close it in the middle of the message
	DropBeforeEnd float64 // take the message, then close before the final reply
	// Delay comes before every batch of replies.
	Delay time.Duration
}

// SetFaults changes the faults from the next command on; the seed is taken by new
// connections.
func (s *Server) SetFaults(f Faults) { s.faults.Store(&f) }

// fails throws for a fault, and counts it.
func (s *session) fails(chance float64) bool {
	if chance <= 0 || s.rnd.Float64() >= chance {
		return false
	}
	s.server.n.faults.Add(1)
	return true
}
