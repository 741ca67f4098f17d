package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk/message"
)

func (a *app) queueShow() *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "show an entry: its envelope and the message's header block",
		Example: "  mlist queue show aaaqeayeaudaocaj\n  mlist queue show aaaqeayeaudaocaj --message > post.eml",
		Args:    between(1, 1, "the id of one entry"),
	}
	c.Flags().BoolVar(&whole, "message", false, "only the message, as it is, every octet")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.showEntry(cmd, args[0], whole, "") }
	return c
}

// showEntry shows what has an id; if in is not empty, only if it is in that queue.
func (a *app) showEntry(cmd *cobra.Command, arg string, whole bool, in spool.Queue) error {
	ids, err := parseIDs([]string{arg})
	if err != nil {
		return err
	}
	return a.withSpool(cmd.Context(), func(sp spool.Admin) error {
		e, err := sp.Find(cmd.Context(), ids[0])
		if errors.Is(err, spool.ErrNotFound) && in == "" && !whole {
			return a.showPost(cmd, sp, ids[0])
		}
		if err != nil {
			return notFoundHint(err)
		}
		if in != "" && e.Queue != in {
			return withHint(fmt.Errorf("entry %s is in %s, not %s", e.ID, e.Queue, in), "`mlist queue show %s` shows it.", e.ID)
		}
		msg, err := sp.Read(cmd.Context(), e)
		if err != nil {
			return notFoundHint(err)
		}
		return closing(a.printEntry(cmd.OutOrStdout(), e, msg, whole), msg.Close)
	})
}

// entryDetail is an entry as `queue show --json` shows it.
type entryDetail struct {
	entryJSON
	Detail string            `json:"detail,omitempty"`
	Key    string            `json:"key"`
	Peer   string            `json:"peer,omitempty"`
	Notes  map[string]string `json:"notes,omitempty"`
	From   string            `json:"from"`
	Title  string            `json:"subject"`
	Header []string          `json:"header"` // fields, unfolded
	Hits   []moderate.Hit    `json:"hits,omitempty"`
}

func (a *app) printEntry(w io.Writer, e spool.Entry, msg spool.Message, whole bool) error {
	if whole && !a.json {
		if isTerminal(a.out) {
			return printText(w, io.NewSectionReader(msg, 0, msg.Size()))
		}
		_, err := io.Copy(w, io.NewSectionReader(msg, 0, msg.Size()))
		return err
	}
	h := headerOf(msg)
	if a.json {
		d := entryDetail{entryJSON: entryOf(e), Detail: e.Detail, Key: e.Key.String(), Peer: e.Peer, Notes: e.Notes,
			From: message.DecodeText(h.Get("From")), Title: h.Text("Subject"), Header: []string{}, Hits: moderate.Hits(e.Notes)}
		for f := range h.Fields() {
			d.Header = append(d.Header, strings.NewReplacer("\r", "", "\n", "").Replace(string(f.Raw)))
		}
		return printJSON(w, d)
	}
	for _, f := range [][2]string{
		{"id", string(e.ID)}, {"queue", string(e.Queue)}, {"reason", e.Reason}, {"list", e.List}, {"role", e.Role}, {"detail", e.Detail},
		{"sender", "<" + e.Sender + ">"}, {"recipient", e.Recipient}, {"received", moment(e.Received)}, {"peer", e.Peer},
		{"size", thousands(e.Size) + " octets"}, {"key", e.Key.String()}, {"tries", fmt.Sprint(e.Tries)}, {"flags", strings.Join(e.Flags, " ")},
	} {
		if f[1] != "" {
			fmt.Fprintf(w, "%-9s  %s\n", f[0], printable(f[1], false))
		}
	}
	if !e.Due.IsZero() {
		fmt.Fprintf(w, "%-9s  %s\n", "due", moment(e.Due))
	}
	for _, hit := range moderate.Hits(e.Notes) {
		fmt.Fprintf(w, "hit        %s: %s\n", printable(hit.Code, false), printable(hit.Reason, false))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Notes)) {
		if moderate.IsHits(name) {
			continue // a line each, above
		}
		fmt.Fprintf(w, "note       %s: %s\n", printable(name, false), printable(e.Notes[name], false))
	}
	fmt.Fprintln(w)
	return printText(w, strings.NewReader(string(h.Bytes())))
}

// headerOf reads a message's header block; what is none is empty.
func headerOf(msg spool.Message) *message.Header {
	block, _, err := message.Split(msg, msg.Size())
	if err != nil {
		return message.ParseHeader(nil)
	}
	return message.ParseHeader(block)
}

// printText prints text from outside so that it does nothing to a terminal.
func printText(w io.Writer, r io.Reader) error {
	rest := make([]byte, 0, 64<<10)
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		rest = append(rest, buf[:n]...)
		// Whole lines, so that no character is cut; a very long line as it comes.
		end := strings.LastIndexByte(string(rest), '\n') + 1
		if errors.Is(err, io.EOF) || end == 0 && len(rest) > 32<<10 {
			end = len(rest)
		}
		text := strings.ReplaceAll(string(rest[:end]), "\r\n", "\n")
		if _, werr := io.WriteString(w, printable(text, true)); werr != nil {
			return werr
		}
		rest = append(rest[:0], rest[end:]...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// showPost shows a post in outgoing: its chunks, and who has not got it yet.
func (a *app) showPost(cmd *cobra.Command, sp spool.Admin, id spool.ID) error {
	w := cmd.OutOrStdout()
	found := false
	out := array{w: w}
	for c, err := range sp.Chunks(cmd.Context(), true) {
		if err != nil {
			return err
		}
		if c.Post != id {
			if found {
				break // chunks of one post come together
			}
			continue
		}
		if a.json {
			if err := out.add(chunkOf(c)); err != nil {
				return err
			}
		} else {
			if !found {
				fmt.Fprintf(w, "id         %s\nqueue      outgoing\nlist       %s\nsender     <%s>\nreceived   %s\n", id,
					printable(c.List, false), printable(c.Sender, false), moment(c.Created))
			}
			printChunk(w, c)
		}
		found = true
	}
	if !found {
		return notFoundHint(fmt.Errorf("entry %s: %w", id, spool.ErrNotFound))
	}
	if a.json {
		return out.end()
	}
	return nil
}

// chunkJSON is a chunk as `queue show --json` shows it.
type chunkJSON struct {
	entryJSON
	Chunk   string   `json:"chunk"`
	Key     string   `json:"key"`
	Variant string   `json:"variant"`
	Rcpts   []string `json:"recipient_list"`
}

func chunkOf(c spool.Chunk) chunkJSON {
	j := chunkJSON{Chunk: c.Name, Key: c.Key.String(), Variant: c.Variant, Rcpts: c.Recipients}
	j.entryJSON = entryJSON{Queue: spool.Outgoing, ID: c.Post, List: c.List, Sender: c.Sender, Received: c.Created, Flags: c.Flags}
	j.addChunk(c)
	return j
}

func printChunk(w io.Writer, c spool.Chunk) {
	fmt.Fprintf(w, "\nchunk %s  key %s  %s  %d tries", printable(c.Name, false), c.Key, count(int64(len(c.Recipients)), "recipient", "recipients"), c.Tries)
	if !c.Due.IsZero() {
		fmt.Fprintf(w, "  due %s", moment(c.Due))
	}
	fmt.Fprintln(w)
	if c.Reason != "" {
		fmt.Fprintf(w, "  %s\n", printable(c.Reason, false))
	}
	for _, r := range c.Recipients {
		fmt.Fprintf(w, "  <%s>\n", printable(r, false))
	}
}
