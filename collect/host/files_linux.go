package host

import (
	"errors"
	"io/fs"
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
