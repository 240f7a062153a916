package netfilter

import (
	"net/netip"
)

// actionKind is what a target does to a packet's way.
type actionKind uint8

const (
	actNone     actionKind = iota // nothing that matters here: LOG, TCPMSS, no target at all
	actJump                       // to a chain of the user's
	actAccept                     //
	actDrop                       //
	actReject                     //
	actReturn                     //
	actRedirect                   // to this host
	actDNAT                       //
	actSNAT                       // MASQUERADE too
	actTproxy                     //
	actMark                       // the packet's mark
	actConnmark                   // the connection's mark, or the packet's from it
	actNotrack                    //
	actUnknown                    // decides in a way that isn't known
	actScramble                   // sets the mark to what isn't known
)

// action is a rule's target and its options.
type action struct {
	kind  actionKind
	ports span       // REDIRECT, DNAT, TPROXY: to 0 keeps the port
	addr  netip.Addr // DNAT, TPROXY
	last  netip.Addr // DNAT: end of the range of addresses
	// MARK and CONNMARK compute (old &^ mask) ^ value; save and restore (old &^ mask) ^ (other & value).
	value, mask   uint32
	save, restore bool
	random        bool
	with          string // REJECT
}

// kindOf gives the kind of a built-in target or target extension, and whether it is one. All else is taken for a chain,
// if there is one of that name.
func kindOf(target string) (actionKind, bool) {
	switch target {
	case "ACCEPT":
		return actAccept, true
	case "DROP":
		return actDrop, true
	case "REJECT":
		return actReject, true
	case "RETURN":
		return actReturn, true
	case "REDIRECT":
		return actRedirect, true
	case "DNAT":
		return actDNAT, true
	case "SNAT", "MASQUERADE":
		return actSNAT, true
	case "TPROXY":
		return actTproxy, true
	case "MARK":
		return actMark, true
	case "CONNMARK":
		return actConnmark, true
	case "NOTRACK":
		return actNotrack, true
	// These go on with the next rule, and change nothing a rule known here looks at.
	case "", "LOG", "NFLOG", "ULOG", "TRACE", "CT", "TCPMSS", "TCPOPTSTRIP", "DSCP", "TOS", "TTL", "HL", "CHECKSUM", "CLASSIFY",
		"CONNSECMARK", "SECMARK", "AUDIT", "TEE", "IDLETIMER", "LED", "RATEEST", "ECN", "SET":
		return actNone, true
	case "HMARK":
		return actScramble, true
	case "QUEUE", "NFQUEUE", "SYNPROXY", "NETMAP", "CLUSTERIP", "TARPIT", "STEAL", "MIRROR", "DNPT", "SNPT":
		return actUnknown, true
	}
	return actUnknown, false
}

func (a action) newMark(old, other uint32) uint32 {
	if a.save || a.restore {
		return old&^a.mask ^ other&a.value
	}
	return old&^a.mask ^ a.value
}
