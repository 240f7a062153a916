package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKubeFiveThousandPods builds the program, and asks it about a namespace of 5,000 pods in 25 Deployments, the pods of one of which
// are older than the injector. What it takes is printed, not held: machines differ.
func TestKubeFiveThousandPods(t *testing.T) {
	c := kube.Start(t)
	binary := filepath.Join(t.TempDir(), "meshdiag")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	kubelet(t, c)
	c.Namespace(t, "shop", map[string]string{"istio-injection": "enabled"})
	const n, sets = 5000, 25
	var manifests []string
	for i := range n {
		manifests = append(manifests, manyPods(i/(n/sets), i))
	}
	for i := range sets {
		manifests = append(manifests, strings.NewReplacer("name: checkout", fmt.Sprintf("name: app%d", i), "app: checkout", fmt.Sprintf("app: app%d", i), `"app": checkout`, fmt.Sprintf(`"app": app%d`, i),
			"replicas: 2", fmt.Sprint("replicas: ", n/sets)).Replace(checkout(n/sets, "")))
	}
	c.ApplyMany(t, manifests) // before there are webhooks: the pods are injected as they are made
	install(t, c)
	c.Settle(t)

	cmd := exec.CommandContext(t.Context(), binary, "diagnose", "-o", "json", "--kubeconfig", c.Kubeconfig(t, c.Admin, kubeContext), "--namespace", "shop")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(peakEvery)
	defer tick.Stop()
	most := 0.0
	for running := true; running; {
		select {
		case <-tick.C:
			if mib, err := memoryOf(cmd.Process.Pid, "VmHWM:"); err == nil { // not ru_maxrss, which is this process's own if that's more
				most = mib
			}
		case err := <-ended:
			var failed *exec.ExitError
			if err != nil && !asExitError(err, &failed) {
				t.Fatal(err)
			}
			running = false
		}
	}
	took, b := time.Since(began), stdout.Bytes()
	if got, want := parse(t, b, cmd.ProcessState.ExitCode()), expect("injection/pod-predates-injection"); !got.equal(want) {
		t.Errorf("got %+v, want %+v\n%.4000s", got, want, b)
	}
	t.Logf("%d pods: %v, %.0f MiB at most (VmHWM), %v of CPU; the report has %d KiB", n, took.Round(time.Millisecond), most,
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Millisecond), len(b)>>10)
}

// manyPods gives pod i of a Deployment: 10 KiB as an injected one has, of the first Deployment without a sidecar.
func manyPods(set, i int) string {
	var o map[string]any
	well := pod{name: fmt.Sprintf("app%d-%s-%05d", set, hash, i), startedBefore: time.Hour}
	if set == 0 {
		well.containers, well.init = withoutOne, "[]"
	}
	if err := json.Unmarshal([]byte(well.manifest()), &o); err != nil {
		panic(err) // the manifest is this package's own
	}
	meta, spec := o["metadata"].(map[string]any), o["spec"].(map[string]any)
	meta["ownerReferences"].([]any)[0].(map[string]any)["name"] = fmt.Sprintf("app%d-%s", set, hash)
	meta["labels"].(map[string]any)["app"] = fmt.Sprintf("app%d", set)
	if set == 0 {
		b, _ := json.Marshal(o)
		return string(b)
	}
	var proxy, init any
	_ = json.Unmarshal(fmt.Appendf(nil, proxyContainer, ""), &proxy)
	_ = json.Unmarshal([]byte(initContainer), &init)
	var env []any
	for j := range 80 {
		env = append(env, map[string]any{"name": fmt.Sprintf("ISTIO_META_SETTING_%d", j), "value": fmt.Sprintf("the value of setting %d, which is as long as such values are", j)})
	}
	proxy.(map[string]any)["env"] = env
	spec["containers"] = append(spec["containers"].([]any), proxy)
	spec["initContainers"] = []any{init}
	meta["annotations"] = map[string]any{"sidecar.istio.io/status": `{"initContainers":["istio-init"],"containers":["istio-proxy"],"revision":"default"}`}
	b, _ := json.Marshal(o)
	return string(b)
}
