package csdsconv

import (
	"reflect"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/xdsclient"
)

func TestClientStatus(t *testing.T) {
	asked := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
	src := evidence.Source{Collector: "csds", Vantage: evidence.FromAPI, Time: asked}
	got := ClientStatus(xdsclient.ClientConfig{
		Node: xdsclient.Node{
			ID: "projects/1/networks/default/nodes/a", Cluster: "c", Metadata: map[string]string{"k": "v"},
			Locality: xdsclient.Locality{Region: "r", Zone: "z"}, UserAgentName: "envoy", UserAgentVersion: "1.30.1",
		},
		ClientScope: "xds:///a",
		Resources: []xdsclient.Resource{{
			TypeURL: "type.googleapis.com/envoy.config.listener.v3.Listener", Name: "l", Version: "7", LastUpdated: asked.Add(-time.Minute),
			ConfigStatus: xdsclient.ConfigStatusError, ClientStatus: xdsclient.ClientStatusNacked, Static: true,
			Error: &xdsclient.UpdateFailure{Details: "because", LastAttempt: asked.Add(-time.Second)},
		}},
	}, src)
	want := evidence.ClientStatus{
		Client: evidence.Client{NodeID: "projects/1/networks/default/nodes/a", Cluster: "c", UserAgentName: "envoy", UserAgentVersion: "1.30.1",
			Metadata: map[string]string{"k": "v"}, Region: "r", Zone: "z"},
		ClientScope: "xds:///a", Asked: asked, Source: src,
		Resources: []evidence.Resource{{
			TypeURL: "type.googleapis.com/envoy.config.listener.v3.Listener", Name: "l", Version: "7", LastUpdated: asked.Add(-time.Minute),
			Server: evidence.Error, Client: evidence.Nacked, Static: true, Reason: "because", ReasonTime: asked.Add(-time.Second), Samples: 1,
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestViews holds that each status keeps its name, and that an absent or unheard-of one is never a good one.
func TestViews(t *testing.T) {
	for s := xdsclient.ConfigStatusAbsent; s <= xdsclient.ConfigStatusError; s++ {
		if got := serverView(s).String(); got != s.String() {
			t.Errorf("server's view %s became %q", s, got)
		}
	}
	for s := xdsclient.ClientStatusAbsent; s <= xdsclient.ClientStatusTimeout; s++ {
		if got := clientView(s).String(); got != s.String() {
			t.Errorf("client's view %s became %q", s, got)
		}
	}
	if serverView(xdsclient.ConfigStatusUnrecognized) != evidence.ServerUnknown || clientView(xdsclient.ClientStatusUnrecognized) != evidence.ClientUnknown {
		t.Error("an unrecognised status isn't unknown")
	}
}
