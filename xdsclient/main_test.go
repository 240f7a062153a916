package xdsclient

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// childEnv makes the test's binary another program: what must not share a process with the test.
const childEnv = "XDSCLIENT_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "admin":
		adminChild()
	case "bench":
		benchChild()
	default:
		goleak.VerifyTestMain(m)
	}
}

// startChild runs the test's binary as a child, until the test ends, and gives the first line that it prints.
func startChild(tb testing.TB, child string, env ...string) string {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), childEnv+"="+child), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // the child ends when it closes, so it does not outlive a killed test
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("child %s: %v", child, err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatalf("child %s: %v", child, err)
	}
	return strings.TrimSpace(line)
}

// childFail ends a child.
func childFail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
