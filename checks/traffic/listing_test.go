package traffic

import "strings"

// listedSidecar is what iptables -t nat -L prints of a sidecar's rules: several are limited to lo, which it doesn't show.
const listedSidecar = `Chain PREROUTING (policy ACCEPT)
target     prot opt source               destination
ISTIO_INBOUND  tcp  --  anywhere             anywhere

Chain INPUT (policy ACCEPT)
target     prot opt source               destination

Chain OUTPUT (policy ACCEPT)
target     prot opt source               destination
RETURN     all  --  anywhere             anywhere
ISTIO_OUTPUT  all  --  anywhere             anywhere

Chain POSTROUTING (policy ACCEPT)
target     prot opt source               destination

Chain ISTIO_INBOUND (1 references)
target     prot opt source               destination
RETURN     tcp  --  anywhere             anywhere             tcp dpt:15008
ISTIO_IN_REDIRECT  tcp  --  anywhere             anywhere

Chain ISTIO_IN_REDIRECT (3 references)
target     prot opt source               destination
REDIRECT   tcp  --  anywhere             anywhere             redir ports 15006

Chain ISTIO_OUTPUT (1 references)
target     prot opt source               destination
RETURN     all  --  127.0.0.6            anywhere
ISTIO_IN_REDIRECT  tcp  --  anywhere            !localhost            tcp dpt:!15008 owner UID match 1337
RETURN     all  --  anywhere             anywhere             ! owner UID match 1337
RETURN     all  --  anywhere             anywhere             owner UID match 1337
ISTIO_IN_REDIRECT  tcp  --  anywhere            !localhost            tcp dpt:!15008 owner GID match 1337
RETURN     all  --  anywhere             anywhere             ! owner GID match 1337
RETURN     all  --  anywhere             anywhere             owner GID match 1337
RETURN     all  --  anywhere             localhost
ISTIO_REDIRECT  all  --  anywhere             anywhere

Chain ISTIO_REDIRECT (1 references)
target     prot opt source               destination
REDIRECT   tcp  --  anywhere             anywhere             redir ports 15001
`

// listedVM is of rules made by hand, whose first is for what the host sends to itself.
const listedVM = `Chain OUTPUT (policy ACCEPT)
target     prot opt source               destination
ISTIO_OUTPUT  tcp  --  anywhere             anywhere

Chain ISTIO_OUTPUT (1 references)
target     prot opt source               destination
ISTIO_REDIRECT  all  --  anywhere            !localhost
RETURN     all  --  anywhere             anywhere             owner UID match 997
RETURN     all  --  anywhere             localhost
ISTIO_REDIRECT  all  --  anywhere             10.0.0.0/8
RETURN     all  --  anywhere             anywhere

Chain ISTIO_REDIRECT (1 references)
target     prot opt source               destination
REDIRECT   tcp  --  anywhere             anywhere             redir ports 15001
`

// listedFilter drops a port behind a rule that isn't for everything, though it looks so: it is limited to lo.
const listedFilter = `Chain INPUT (policy ACCEPT)
target     prot opt source               destination
ACCEPT     all  --  anywhere             anywhere
ACCEPT     tcp  --  anywhere             anywhere             tcp dpt:ssh
DROP       tcp  --  anywhere             anywhere             tcp dpt:15006

Chain FORWARD (policy ACCEPT)
target     prot opt source               destination

Chain OUTPUT (policy ACCEPT)
target     prot opt source               destination
`

// listedRange is the same with one range taken to the proxy alone.
var listedRange = strings.Replace(listedSidecar, "ISTIO_REDIRECT  all  --  anywhere             anywhere", "ISTIO_REDIRECT  all  --  anywhere             10.0.0.0/8", 1)

// listedExclusion lets one range pass before all is taken.
var listedExclusion = strings.Replace(listedSidecar, "ISTIO_REDIRECT  all", "RETURN     all  --  anywhere             10.9.0.0/16\nISTIO_REDIRECT  all", 1)

// listedLoopback takes to the proxy what the host sends to itself, and nothing else.
var listedLoopback = strings.Replace(listedSidecar, "ISTIO_REDIRECT  all  --  anywhere             anywhere", "ISTIO_REDIRECT  all  --  anywhere             127.0.0.0/8", 1)
