package lmtpd

import "time"

// Meter counts what becomes of mail. It must not fail, and takes no time.
type Meter interface {
	// Reply is told of a connection (CONNECT) or MAIL that was refused, each RCPT, and each
	// recipient after DATA.
	Reply(command string, code int)
	// Kept is told of each entry, and how long it took from the start of DATA.
	Kept(size int64, took time.Duration)
	// StoreError is told of a look-up that failed.
	StoreError()
	// Trouble is told why a message could not be kept, and with nil that one was.
	Trouble(err error)
}

type noMeter struct{}

func (noMeter) Reply(string, int)         {}
func (noMeter) Kept(int64, time.Duration) {}
func (noMeter) StoreError()               {}
func (noMeter) Trouble(error)             {}

// SetMeter makes m count everything; it is called before Run.
func (d *Daemon) SetMeter(m Meter) { d.meter = m }

// Connections tells how many are open.
func (d *Daemon) Connections() int { return d.conns.Len() }

// counted counts a reply that the library is given, which takes none for success.
func (d *Daemon) counted(command string, err error) error {
	code := 250
	if err != nil {
		code = codeOf(err)
	}
	d.meter.Reply(command, code)
	return err
}
