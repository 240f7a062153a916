package xdsclient

import (
	"strconv"
	"time"
)

// Node is what a client says of itself: envoy.config.core.v3.Node without what a diagnosis has no use for.
type Node struct {
	ID      string
	Cluster string
	// Metadata holds the top-level keys of the node's metadata. A string is itself; null, a number or a boolean is as JSON
	// writes it; a list or an object is compact JSON with sorted keys. Nil when the node has no metadata.
	Metadata map[string]string
	Locality Locality
	// UserAgentName is for instance "envoy" or "gRPC Go".
	UserAgentName string
	// UserAgentVersion is user_agent_version, or user_agent_build_version written as "major.minor.patch".
	UserAgentVersion string
}

// Locality is envoy.config.core.v3.Locality.
type Locality struct {
	Region, Zone, SubZone string
}

// ClientConfig is one client and the resources that it asked for: envoy.service.status.v3.ClientConfig.
type ClientConfig struct {
	Node Node
	// ClientScope tells apart the xDS clients of one process; for gRPC it is the target that the client serves. Only xDS
	// clients set it, in answers about themselves (field 4 of ClientConfig).
	ClientScope string
	// Resources are in the order of the answer. Traffic Director leaves them out of an answer to a request without an
	// exact node id: in an answer from a file, no resources therefore means that they are not known.
	Resources []Resource
}

// Resource is the status of one xDS resource, from either form of ClientConfig: generic_xds_configs (field 3), or the
// deprecated xds_config (field 2), each of whose listeners, clusters, routes, scoped routes and endpoints gives one.
type Resource struct {
	// TypeURL is as sent, so also one that this package has never heard of. In the deprecated form it is that of the
	// contents, or where there are none the v3 type of the dump they would be in.
	TypeURL string
	// Name may be empty: a status of the deprecated form whose dump lists no resource.
	Name    string
	Version string
	// LastUpdated is zero when absent. The year 1 means absent too: grpc-go sends it for what it never received.
	LastUpdated time.Time
	// ConfigStatus is the control plane's view: what it sent, and what it was told in return.
	ConfigStatus ConfigStatus
	// ClientStatus is the client's own view. The two are never derived from each other.
	ClientStatus ClientStatus
	// Static says that the client had the resource from its bootstrap.
	Static bool
	// Error is why the last update was rejected; nil when no such thing was sent, which does not mean that none happened.
	Error *UpdateFailure
	// Contents is nil unless contents were asked for and sent.
	Contents *Contents
}

// UpdateFailure is envoy.admin.v3.UpdateFailureState without the rejected resource.
type UpdateFailure struct {
	Details     string
	Version     string    // of the rejected update
	LastAttempt time.Time // zero when absent
}

// Contents is a resource as it was sent: one of Value (from a protobuf answer) and JSON (from a JSON answer).
type Contents struct {
	TypeURL string
	Value   []byte
	JSON    []byte
}

// ConfigStatus is envoy.service.status.v3.ConfigStatus, and one value for its absence. protobuf does not send a zero
// enum, so an absent status in a protobuf answer may have been UNKNOWN; in JSON they differ.
type ConfigStatus uint8

// The server's view of a resource.
const (
	ConfigStatusAbsent       ConfigStatus = iota
	ConfigStatusUnknown                   // UNKNOWN = 0
	ConfigStatusSynced                    // SYNCED = 1: sent, ACK received
	ConfigStatusNotSent                   // NOT_SENT = 2
	ConfigStatusStale                     // STALE = 3: sent, neither ACK nor NACK received
	ConfigStatusError                     // ERROR = 4: sent, NACK received
	ConfigStatusUnrecognized              // a value that this package does not know
)

var configStatusNames = [...]string{"", "UNKNOWN", "SYNCED", "NOT_SENT", "STALE", "ERROR", "UNRECOGNIZED"}

// String gives the enum value's name, "" for ConfigStatusAbsent and "UNRECOGNIZED" for an unknown value.
func (s ConfigStatus) String() string {
	if int(s) < len(configStatusNames) {
		return configStatusNames[s]
	}
	return "ConfigStatus(" + strconv.Itoa(int(s)) + ")"
}

// ClientStatus is envoy.admin.v3.ClientResourceStatus, and one value for its absence. The deprecated ClientConfigStatus
// is mapped to it by name.
type ClientStatus uint8

// The client's view of a resource.
const (
	ClientStatusAbsent        ClientStatus = iota
	ClientStatusUnknown                    // UNKNOWN = 0
	ClientStatusRequested                  // REQUESTED = 1: nothing received yet
	ClientStatusDoesNotExist               // DOES_NOT_EXIST = 2
	ClientStatusAcked                      // ACKED = 3
	ClientStatusNacked                     // NACKED = 4
	ClientStatusReceivedError              // RECEIVED_ERROR = 5
	ClientStatusTimeout                    // TIMEOUT = 6
	ClientStatusUnrecognized               // a value that this package does not know
)

var clientStatusNames = [...]string{"", "UNKNOWN", "REQUESTED", "DOES_NOT_EXIST", "ACKED", "NACKED", "RECEIVED_ERROR",
	"TIMEOUT", "UNRECOGNIZED"}

// String gives the enum value's name, "" for ClientStatusAbsent and "UNRECOGNIZED" for an unknown value.
func (s ClientStatus) String() string {
	if int(s) < len(clientStatusNames) {
		return clientStatusNames[s]
	}
	return "ClientStatus(" + strconv.Itoa(int(s)) + ")"
}

// configStatus maps a number of envoy.service.status.v3.ConfigStatus.
func configStatus(n int32) ConfigStatus {
	if n < 0 || n > 4 {
		return ConfigStatusUnrecognized
	}
	return ConfigStatusUnknown + ConfigStatus(n)
}

// clientStatus maps a number of envoy.admin.v3.ClientResourceStatus.
func clientStatus(n int32) ClientStatus {
	if n < 0 || n > 6 {
		return ClientStatusUnrecognized
	}
	return ClientStatusUnknown + ClientStatus(n)
}

// oldClientStatus maps a number of the deprecated envoy.service.status.v3.ClientConfigStatus: CLIENT_UNKNOWN,
// CLIENT_REQUESTED, CLIENT_ACKED, CLIENT_NACKED, CLIENT_RECEIVED_ERROR.
func oldClientStatus(n int32) ClientStatus {
	switch n {
	case 0:
		return ClientStatusUnknown
	case 1:
		return ClientStatusRequested
	case 2:
		return ClientStatusAcked
	case 3:
		return ClientStatusNacked
	case 4:
		return ClientStatusReceivedError
	}
	return ClientStatusUnrecognized
}

// The range of google.protobuf.Timestamp's seconds that is a time: after the year 1, which stands for "never", and
// before the year 10000.
const (
	firstSecond = -62135596800 + 366*24*3600
	endSecond   = 253402300800
)

// timestamp gives the time of a google.protobuf.Timestamp, and the zero time for what is none.
func timestamp(seconds int64, nanos int32) time.Time {
	if seconds == 0 && nanos == 0 || seconds < firstSecond || seconds >= endSecond {
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos)).UTC()
}
