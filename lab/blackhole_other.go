//go:build !unix

package lab

import "errors"

type blackhole struct{ port int }

func startBlackhole() (*blackhole, error) {
	return nil, errors.New("a port that never answers needs a Unix system")
}

func (b *blackhole) close() {}
