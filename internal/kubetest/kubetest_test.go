package kubetest

import (
	"os"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var kube Shared

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

func TestKubeListsNamespaces(t *testing.T) {
	c := kube.Start(t)
	t.Logf("ready after %v", c.StartTime)
	list, err := c.Dynamic.Resource(namespaces).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 4 {
		t.Errorf("a new cluster has %d namespaces, want the 4 that the API server makes", len(list.Items))
	}
}
