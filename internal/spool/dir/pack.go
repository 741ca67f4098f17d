package dir

import (
	"fmt"
	"path/filepath"

	"github.com/mlist/mlist/internal/spool"
)

const (
	// fullPack is how many octets make a file of several chunks full: a disk takes about as
	// long for the sync of a small file.
	fullPack = 1 << 20
	// fullPackChunks is how many chunks do. File systems bound the names of a file, the
	// tightest of those in use at 65,000.
	fullPackChunks = 1000
)

// pack is chunks of a post that will share a file. To make and sync a file for each would
// take a large post longer than all else.
type pack struct {
	data  []byte
	parts []chunkFile
}

func (k *pack) full() bool { return len(k.data) >= fullPack || len(k.parts) >= fullPackChunks }

func (k *pack) add(file chunkFile, c *spool.Chunk) error {
	before := len(k.data)
	k.data = appendChunk(k.data, c)
	if size := len(k.data) - before; size > maxChunk {
		k.data = k.data[:before]
		return fmt.Errorf("a chunk of %d bytes: more than %d", size, maxChunk)
	}
	file.from, file.to = int64(before), int64(len(k.data))
	k.parts = append(k.parts, file)
	return nil
}

// unpack gives what is packed a file, in which each chunk has its part and a name of its own.
// It is synced in the background, and has the other names then.
func (p *prepared) unpack() error {
	parts := p.pack.parts
	if len(parts) == 0 {
		return nil
	}
	if len(parts) == 1 {
		parts[0].from, parts[0].to = 0, 0
	}
	path := filepath.Join(p.dir, chunksDir, parts[0].String())
	f, err := p.o.s.fs.create(path)
	if err != nil {
		return err
	}
	_, err = p.o.s.fs.write(f, p.pack.data)
	p.pack.data, p.pack.parts = p.pack.data[:0], nil
	p.shared = p.shared || len(parts) > 1
	p.syncs.Go(func() error {
		if err := p.o.s.fs.finish(f, err); err != nil {
			return err
		}
		for _, part := range parts[1:] {
			if err := p.name(path, part); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// name gives a part of a file its name. On a file system without hard links, or that has
// enough of them, it gets a file of its own.
func (p *prepared) name(path string, part chunkFile) error {
	fs := &p.o.s.fs
	if fs.link(path, filepath.Join(p.dir, chunksDir, part.String())) == nil {
		return nil
	}
	from, size := part.from, part.to-part.from
	part.from, part.to = 0, 0
	src, _, err := fs.openRegular(path)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := fs.create(filepath.Join(p.dir, chunksDir, part.String()))
	if err != nil {
		return err
	}
	return fs.finish(dst, fs.copy(dst, src, from, size))
}
