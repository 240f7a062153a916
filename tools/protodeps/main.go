// Command protodeps prints the protos that proto/ imports, with all that they import in turn, from the descriptors that Go
// modules link: buf needs their source, and a build must need nothing but the module proxy.
//
//	protodeps DIR FILE.proto …
package main

import (
	"fmt"
	"os"
	"strings"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate" // linked for its descriptor
	_ "google.golang.org/genproto/googleapis/api/annotations"                   // linked for its descriptor

	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: protodeps DIR FILE.proto …")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "protodeps:", err)
		os.Exit(1)
	}
}

// write prints the named files and their imports below dir. buf brings google/protobuf itself.
func write(dir string, paths []string) error {
	seen := map[string]bool{}
	var out []protoreflect.FileDescriptor
	var add func(protoreflect.FileDescriptor) error
	add = func(f protoreflect.FileDescriptor) error {
		if seen[f.Path()] {
			return nil
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			imp := f.Imports().Get(i)
			if imp.IsPlaceholder() {
				return fmt.Errorf("%s imports %s, which no Go module here links", f.Path(), imp.Path())
			}
			if err := add(imp.FileDescriptor); err != nil {
				return err
			}
		}
		if !strings.HasPrefix(f.Path(), "google/protobuf/") {
			out = append(out, f)
		}
		return nil
	}
	for _, p := range paths {
		f, err := protoregistry.GlobalFiles.FindFileByPath(p)
		if err != nil {
			return fmt.Errorf("finding %s: %w", p, err)
		}
		if err := add(f); err != nil {
			return err
		}
	}
	pr := protoprint.Printer{}
	return pr.PrintProtosToFileSystem(out, dir)
}
