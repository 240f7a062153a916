// Package xds finds what went wrong with configuration that the control plane has: rejected by the client, not
// acknowledged, never sent, or missing.
//
// The evidence is CSDS, in the control plane's view and in the client's own, and logs. The control plane's view often
// lacks the reason of a rejection, which only the client knows for certain; where a log or the client's own view of the same client
// tells it, they are put together.
//
// Causes are keyed by client and type, "nodes/<node id>/<type>/…", with what was said as the last segment, so that a
// special cause folds just the general one that was told the same. What several clients share is one cause, keyed
// "clients/<type>/…": a shorter key would fold other causes of those clients. What a log says without naming a client
// is keyed "files/<file>/<type>/…".
package xds
