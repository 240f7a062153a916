package host

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// owner gives whose a file is.
func owner(st fs.FileInfo) (uid, gid int, ok bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(s.Uid), int(s.Gid), true
}

// hasACL says whether a file has POSIX access control entries besides its mode (acl(5)).
func hasACL(path string) bool {
	n, err := syscall.Getxattr(path, "system.posix_acl_access", nil)
	return n > 0 && err == nil || errors.Is(err, syscall.ERANGE)
}

// readOnly says whether a file lies on a file system that is mounted read-only (ST_RDONLY of statvfs(3)).
func readOnly(path string) bool {
	const rdonly = 1
	var s syscall.Statfs_t
	return syscall.Statfs(path, &s) == nil && s.Flags&rdonly != 0
}

// ownGroup makes a command the first of a process group of its own, and gives what kills all of it.
func ownGroup(cmd *exec.Cmd) (kill func() error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
