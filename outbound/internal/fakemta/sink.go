package fakemta

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
)

// ServeSink serves in a process of its own until standard input ends, as it does when
// the parent is gone.
func ServeSink(ln net.Listener) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ln.Close()
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go Sink(c)
	}
}

// Sink serves one connection as fast as it can: it takes everything and keeps nothing.
func Sink(c net.Conn) {
	defer c.Close()
	br, bw := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 64<<10)
	say := func(s string) { _, _ = bw.WriteString(s) }
	say("220 sink\r\n")
	data := false
	for {
		if b, _ := br.Peek(br.Buffered()); bytes.IndexByte(b, '\n') < 0 {
			_ = bw.Flush()
		}
		line, err := br.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case data:
			if len(line) == 3 && line[0] == '.' {
				data = false
				say("250 2.0.0 Ok\r\n")
			}
		case line[0] == 'R':
			say("250 2.1.5 Ok\r\n")
		case line[0] == 'D':
			data = true
			say("354 go\r\n")
		case line[0] == 'E':
			say("250-sink\r\n250-PIPELINING\r\n250 SIZE\r\n")
		default:
			say("250 2.1.0 Ok\r\n")
		}
	}
}
