package pipeline

import (
	"os"
	"syscall"
)

const (
	// setPipeSize is fcntl's F_SETPIPE_SZ, which package syscall lacks.
	setPipeSize = 1031
	// pipeSize is what a user may ask for by default (/proc/sys/fs/pipe-max-size); a pipe has 64 KiB otherwise, and its two
	// ends spend their time waking each other.
	pipeSize = 1 << 20
)

// widen makes a pipe hold more. If that can't be done, reading is slower and as right.
func widen(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, pipeSize) })
}
