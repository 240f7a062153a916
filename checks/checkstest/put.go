package checkstest

import (
	"errors"

	"github.com/meshdiag/meshdiag/evidence"
)

// Put is a part of a case's evidence.
type Put = func(*evidence.Set)

// All puts several parts.
func All(list ...Put) Put {
	return func(s *evidence.Set) {
		for _, f := range list {
			f(s)
		}
	}
}

// Objects puts objects of a kind: all there are in the cluster where the source is live, some of them where it is a file.
func Objects[T any](src evidence.Source, k evidence.Key[[]evidence.Objects[T]], items ...T) Put {
	return func(s *evidence.Set) {
		evidence.Put(s, k, []evidence.Objects[T]{{Items: items, Whole: !src.Pasted, Source: src}}, src)
	}
}

// Deny fails a fact for want of a permission.
func Deny(src evidence.Source, n evidence.Name) Put {
	return func(s *evidence.Set) {
		s.Fail(n, src, &evidence.Denied{What: string(n), Permission: "list " + string(n), Err: errors.New("403")})
	}
}

// Late fails a fact that didn't come in time.
func Late(src evidence.Source, n evidence.Name) Put {
	return func(s *evidence.Set) { s.FailLate(n, src, errors.New("context deadline exceeded")) }
}
