//go:build unix

package lab

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// blackhole is a port that never answers: a listening socket that nobody accepts from, with a full queue, so that
// the kernel drops every further SYN, as a firewall does. The net package always listens with a long queue, so the
// socket is made by hand.
type blackhole struct {
	port    int
	fd      int
	fillers []net.Conn
}

const (
	// queueFillers is more connections than any kernel queues for a backlog of zero; the first that does not
	// connect shows that the queue is full.
	queueFillers = 64
	// connectWindow is how long a loopback connection may take. It needs microseconds; one that takes this long was
	// dropped.
	connectWindow = 200 * time.Millisecond
)

func startBlackhole() (*blackhole, error) {
	b := &blackhole{}
	if err := b.listen(); err != nil {
		return nil, fmt.Errorf("making a port that never answers: %w", err)
	}
	dialer := net.Dialer{Timeout: connectWindow}
	for range queueFillers {
		c, err := dialer.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		var nerr net.Error
		switch {
		case err == nil:
			b.fillers = append(b.fillers, c)
		case errors.As(err, &nerr) && nerr.Timeout():
			return b, nil
		default:
			b.close()
			return nil, fmt.Errorf("filling the queue of a port that never answers: %w", err)
		}
	}
	b.close()
	return nil, errors.New("making a port that never answers: the kernel keeps queueing connections")
}

func (b *blackhole) listen() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	syscall.CloseOnExec(fd)
	b.fd = fd
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.close()
		return err
	}
	if err := syscall.Listen(fd, 0); err != nil {
		b.close()
		return err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		b.close()
		return err
	}
	b.port = name.(*syscall.SockaddrInet4).Port
	return nil
}

func (b *blackhole) close() {
	for _, c := range b.fillers {
		_ = c.Close()
	}
	_ = syscall.Close(b.fd)
}
