// Command meshdiag tells why a Google Cloud Service Mesh does not work: one binary that is the service, its command line,
// and a simulated mesh to try it on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit statuses. Bots and scripts rest on them.
const (
	exitHealthy      = 0
	exitCausesFound  = 1
	exitUsage        = 2 // usage or bad input
	exitInconclusive = 3
	exitFailed       = 4 // the call itself failed
)

// exitError carries the exit status of an error. A nil err has been told already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, a ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, a...)}
}

func failed(err error) error { return &exitError{code: exitFailed, err: err} }

// run runs the program, and gives its exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitHealthy
	}
	code := exitUsage // cobra's own errors are about flags and arguments
	var e *exitError
	if errors.As(err, &e) {
		code = e.code
	}
	if msg := strings.TrimSpace(err.Error()); msg != "" {
		fmt.Fprintln(stderr, "meshdiag: "+strings.Join(strings.Fields(msg), " "))
	}
	return code
}
