package host

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

const (
	// maxSocketTable bounds /proc/net/tcp: 150 bytes a socket, connections included.
	maxSocketTable = 32 << 20
	// listening is TCP_LISTEN of include/net/tcp_states.h.
	listening = "0A"
	// maxSockets bounds the list; a proxy listens on some dozens.
	maxSockets = 4096
)

// sockets lists the listening TCP sockets of this network.
func (r *recording) sockets() {
	d := bundle.Sockets{Head: bundle.Head{Kind: bundle.KindSockets, Version: bundle.Version}, Whole: true}
	reason := r.foreignProxies()
	owners, unseen := r.socketOwners()
	for _, name := range []string{"tcp", "tcp6"} {
		b, err := readBounded(r.path("proc/self/net", name), maxSocketTable)
		if errors.Is(err, fs.ErrNotExist) {
			b, err = readBounded(r.path("proc/net", name), maxSocketTable)
		}
		if errors.Is(err, fs.ErrNotExist) && name == "tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			if name == "tcp" {
				r.unread(bundle.ItemSockets, "%s", why(err))
				return
			}
			reason, d.Whole = join(reason, why(err)), false
			continue
		}
		for line := range strings.Lines(string(b)) {
			s, inode, ok := socketLine(line)
			if !ok {
				continue
			}
			if len(d.Sockets) == maxSockets {
				reason, d.Whole = join(reason, fmt.Sprintf("only the first %d are listed", maxSockets)), false
				break
			}
			if p, known := owners[inode]; known {
				s.PID, s.Process = p.PID, p.Command
			}
			d.Sockets = append(d.Sockets, s)
		}
	}
	nameless := slices.ContainsFunc(d.Sockets, func(s bundle.Socket) bool { return s.PID == 0 })
	if nameless && unseen > 0 {
		reason = join(reason, fmt.Sprintf("which process holds a socket isn't known for all: the files of %d other users' processes need root", unseen))
	}
	r.finish(bundle.Item{Name: bundle.ItemSockets, Status: status(reason), Reason: reason}, "sockets.json", d)
}

// socketOwners gives the process of each socket by inode, and how many processes couldn't be looked at.
func (r *recording) socketOwners() (owners map[string]process, unseen int) {
	owners = map[string]process{}
	for _, p := range r.processes {
		dir := r.path("proc", strconv.Itoa(p.PID), "fd")
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			unseen++
		}
		for _, e := range entries {
			link, err := os.Readlink(filepath.Join(dir, e.Name()))
			if err != nil {
				continue // closed meanwhile
			}
			inode, ok := strings.CutPrefix(link, "socket:[")
			if _, had := owners[inode]; ok && !had {
				owners[inode] = p
			}
		}
	}
	return owners, unseen
}

// socketLine reads one line of /proc/net/tcp or tcp6 (proc(5)); ok is false for what isn't a listening socket. The inode comes
// with the bracket that links to it end with.
func socketLine(line string) (s bundle.Socket, inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != listening {
		return s, "", false
	}
	address, port, found := strings.Cut(f[1], ":")
	a, err := kernelAddress(address)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if !found || err != nil || err2 != nil {
		return s, "", false
	}
	s = bundle.Socket{Address: a.String(), Port: int(n), UID: -1}
	if uid, err := strconv.Atoi(f[7]); err == nil {
		s.UID = uid
	}
	return s, f[9] + "]", true
}

// kernelAddress reads an address as the kernel prints it: 32-bit words in the machine's byte order.
func kernelAddress(s string) (netip.Addr, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, fmt.Errorf("%.40q is no address of /proc/net", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b) // 4 or 16 bytes
	return a, nil
}
