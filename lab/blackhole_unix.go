//go:build unix

package lab

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// blackhole is a port that never answers: a listening socket that nobody accepts from, with a full queue, so that
// the kernel drops every further SYN, as a firewall does.
type blackhole struct {
	port int
	fds  []int
}

const (
	// queueFillers is more connections than any kernel queues for a backlog of zero; the first that does not
	// connect shows that the queue is full.
	queueFillers = 64
	// connectWindow is how long a loopback connection may take. It needs microseconds; one that takes this long was
	// dropped.
	connectWindow = 50 * time.Millisecond
)

func startBlackhole() (*blackhole, error) {
	b := &blackhole{}
	fd, err := b.socket()
	if err != nil {
		return nil, err
	}
	loopback := [4]byte{127, 0, 0, 1}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: loopback}); err != nil {
		b.close()
		return nil, fmt.Errorf("binding the port that never answers: %w", err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		b.close()
		return nil, fmt.Errorf("listening on the port that never answers: %w", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		b.close()
		return nil, fmt.Errorf("reading the port that never answers: %w", err)
	}
	b.port = name.(*syscall.SockaddrInet4).Port
	for range queueFillers {
		connected, err := b.fill(&syscall.SockaddrInet4{Addr: loopback, Port: b.port})
		if err != nil {
			b.close()
			return nil, err
		}
		if !connected {
			return b, nil
		}
	}
	b.close()
	return nil, errors.New("the kernel keeps queueing connections: no port that never answers can be made here")
}

func (b *blackhole) socket() (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return 0, fmt.Errorf("making a socket: %w", err)
	}
	syscall.CloseOnExec(fd)
	b.fds = append(b.fds, fd)
	return fd, nil
}

// fill opens one connection and says whether the kernel took it.
func (b *blackhole) fill(to *syscall.SockaddrInet4) (bool, error) {
	fd, err := b.socket()
	if err != nil {
		return false, err
	}
	// A blocking connect gives up after the send timeout (Linux socket(7)).
	tv := syscall.NsecToTimeval(connectWindow.Nanoseconds())
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &tv); err != nil {
		return false, fmt.Errorf("setting a connection's timeout: %w", err)
	}
	err = syscall.Connect(fd, to)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EINPROGRESS), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ETIMEDOUT):
		return false, nil
	}
	return false, fmt.Errorf("filling the queue of the port that never answers: %w", err)
}

func (b *blackhole) close() {
	for _, fd := range b.fds {
		_ = syscall.Close(fd)
	}
	b.fds = nil
}
