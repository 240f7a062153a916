// Package xdsclient asks an xDS control plane, or an xDS client itself, what configuration its clients run: the Client
// Status Discovery Service (CSDS, envoy.service.status.v3.ClientStatusDiscoveryService).
//
// Against Traffic Director it is a protocol of two steps. A request whose node matcher names a project number and a
// network or mesh gives the connected nodes and no configuration (Client.List); the status of each resource comes only
// when the matcher also holds the exact id of one node (Client.Status, Client.Statuses). There is never more than one
// request outstanding on a stream: servers answer a stream in order, so a second one would only wait; many nodes are
// asked over several streams of one connection instead. RESTClient does the same over POST /v3/discovery:client_status,
// and Client.Local asks an xDS client's own endpoint, which refuses node matchers (gRFC A40).
//
// Answers can be very large, and nearly all of their bytes are resource contents that a status does not need. They are
// therefore not unmarshalled: the status is read by walking the wire format in the transport's own buffers, and contents
// are kept, raw, only where Config.KeepContents says so.
//
// A call that gives no error did get an answer. A stream that ends without one, an answer that cannot be read and an
// answer about another node are errors (*Error), never an empty fleet.
package xdsclient
