package postfix

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// checkPort tells whether anybody listens where Postfix hands mail over by TCP.
func checkPort(ctx context.Context, address, key, what string) ([]Finding, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return []Finding{finding("Start mlist: `systemctl start mlist`; `mlist config` shows where it listens.", "Nobody answers at %s (%s): %s.", address, key, what)}, nil
	}
	return nil, c.Close()
}

// reach tells whether Postfix's user can connect to a socket, going by permissions.
func (p *Instance) reach(ctx context.Context, path, what string) ([]Finding, error) {
	name, err := p.Param(ctx, "mail_owner")
	if err != nil {
		return nil, err
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			if at == path {
				return []Finding{finding("Start mlist: `systemctl start mlist`; `mlist config` shows where it listens.", "There is no socket at %s: %s.", path, what)}, nil
			}
			return nil, err
		}
		need := fs.FileMode(0o1) // to search
		if at == path {
			need = 0o2 // to connect
		}
		if !may(info, u.Uid, groups, need) {
			return []Finding{finding(fmt.Sprintf("Put %s into the group of mlist (`usermod -aG mlist %s`), and `postfix reload`.", name, name),
				"Postfix's user %s may not reach %s, because of the permissions of %s (%v): %s.", name, path, at, info.Mode(), what)}, nil
		}
		if at == "/" {
			return nil, nil
		}
	}
}

// may tells whether a user may do with a file what the bits (of others) say.
func may(info fs.FileInfo, uid string, groups []string, bits fs.FileMode) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case strconv.Itoa(int(st.Uid)) == uid:
		return mode>>6&bits == bits
	case slices.Contains(groups, strconv.Itoa(int(st.Gid))):
		return mode>>3&bits == bits
	}
	return mode&bits == bits
}
