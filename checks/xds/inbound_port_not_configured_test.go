package xds

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
)

func TestInboundPortNotConfigured(t *testing.T) {
	anyPort, none := whole(), whole()
	anyPort.inbound = strings.Replace(fmt.Sprintf(inChain, 1), `{"destination_port":1}`, `{}`, 1)
	none.inbound = ""
	checkstest.Run(t, InboundPortNotConfigured, append(commonQuiet(t, asking("", 8080)),
		checkstest.Case{Name: "another port", Request: asking("", 9090), Put: dumps(whole().dump(t)), Want: []checkstest.Want{{Subject: "serving port 9090", Params: map[string]string{"port": "9090"}}}},
		checkstest.Case{Name: "no inbound listener", Request: asking("", 8080), Put: dumps(none.dump(t)), Want: []checkstest.Want{{Summary: "no inbound listener for port 8080"}}},
		checkstest.Case{Name: "beside a destination that is whole", Request: asking("10.0.0.1:80", 9090), Put: dumps(whole().dump(t)), Want: []checkstest.Want{{Summary: "port 9090"}}},
		checkstest.Case{Name: "a chain that takes any port", Request: asking("", 9090), Put: dumps(anyPort.dump(t))},
	))
}
