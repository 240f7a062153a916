package netfilter

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Protocols by their numbers in the IANA registry.
const (
	TCP uint8 = 6
	UDP uint8 = 17
)

func parseProtocol(v string) (test, error) {
	switch v {
	case "all", "any", "ip":
		return protocol(0), nil
	case "tcp":
		return protocol(TCP), nil
	case "udp":
		return protocol(UDP), nil
	}
	names := map[string]protocol{"icmp": 1, "igmp": 2, "ipv4": 4, "ipencap": 4, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
		"ipv6-icmp": 58, "icmpv6": 58, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "mh": 135, "mobility-header": 135,
		"udplite": 136}
	if n, ok := names[v]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(v, 10, 8); err == nil {
		return protocol(n), nil
	}
	return nil, errors.New("a protocol was expected")
}

// parseAddress reads what -s and -d take: addresses with prefix length or mask, separated by commas. A host name is no
// error: it is an address that isn't known.
func parseAddress(v string, source bool) (test, error) {
	out := address{source: source}
	for part := range strings.SplitSeq(v, ",") {
		n, err := parseNetwork(part)
		if err != nil {
			if hostName(part) {
				return address{source: source}, nil
			}
			return nil, err
		}
		out.nets = append(out.nets, n)
	}
	return out, nil
}

func hostName(v string) bool {
	v, _, _ = strings.Cut(v, "/")
	letters := false
	for _, c := range v {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_':
			letters = true
		case '0' <= c && c <= '9' || c == '.' || c == '-':
		default:
			return false
		}
	}
	return letters
}

func parseNetwork(v string) (network, error) {
	wrong := errors.New("an address, with a prefix length or mask, was expected")
	addr, mask, masked := strings.Cut(v, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return network{}, wrong
	}
	if !masked {
		return prefix(netip.PrefixFrom(a, a.BitLen())), nil
	}
	if bits, err := strconv.Atoi(mask); err == nil {
		p, err := a.Prefix(bits)
		if err != nil {
			return network{}, wrong
		}
		return prefix(p), nil
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != a.BitLen() {
		return network{}, wrong
	}
	return network{a.AsSlice(), m.AsSlice()}, nil
}

func parseRange(v string, source bool) (test, error) {
	from, to, ok := strings.Cut(v, "-")
	if !ok {
		to = from
	}
	a, err1 := netip.ParseAddr(from)
	b, err2 := netip.ParseAddr(to)
	if err1 != nil || err2 != nil {
		return nil, errors.New("two addresses with a dash between were expected")
	}
	return addressRange{source, a, b}, nil
}

// parsePorts reads what --dport and multiport's options take: ports, or ranges with a colon, separated by commas.
func parsePorts(v string, out ports) (test, error) {
	for part := range strings.SplitSeq(v, ",") {
		s, err := parseSpan(part, ":")
		if errors.Is(err, errServiceName) {
			out.unknown = true
			continue
		}
		if err != nil {
			return nil, err
		}
		out.spans = append(out.spans, s)
	}
	return out, nil
}

var errServiceName = errors.New("a service of a name that isn't known")

func parseSpan(v, dash string) (span, error) {
	from, to, ranged := strings.Cut(v, dash)
	if _, known := service(v); ranged && known { // a name with a dash in it
		from, ranged = v, false
	}
	if !ranged {
		to = from
	}
	if ranged && from == "" {
		from = "0"
	}
	if ranged && to == "" {
		to = "65535"
	}
	a, err := parsePort(from)
	if err != nil {
		return span{}, err
	}
	b, err := parsePort(to)
	if err != nil {
		return span{}, err
	}
	if a > b {
		return span{}, errors.New("the range ends before it begins")
	}
	return span{a, b}, nil
}

func parsePort(v string) (uint16, error) {
	if n, err := strconv.ParseUint(v, 10, 16); err == nil {
		return uint16(n), nil
	}
	if n, ok := service(v); ok {
		return n, nil
	}
	if hostName(v) {
		return 0, errServiceName
	}
	return 0, errors.New("a port, 0 to 65535, was expected")
}

func parseOwner(v string, group bool) (test, error) {
	from, to, ranged := strings.Cut(v, "-")
	a, err := strconv.ParseUint(from, 10, 32)
	if err != nil {
		if v == "" || strings.ContainsAny(v, " ,:/") {
			return nil, errors.New("a number, a range or a name was expected")
		}
		return owner{group: group, name: v}, nil
	}
	b := a
	if ranged {
		if b, err = strconv.ParseUint(to, 10, 32); err != nil {
			return nil, errors.New("two numbers with a dash between were expected")
		}
	}
	return owner{group: group, from: uint32(a), to: uint32(b)}, nil
}

// parseMark reads value[/mask], decimal or hexadecimal.
func parseMark(v string) (value, mask uint32, err error) {
	left, right, masked := strings.Cut(v, "/")
	if value, err = number(left); err != nil {
		return 0, 0, err
	}
	if mask = ^uint32(0); masked {
		mask, err = number(right)
	}
	return value, mask, err
}

// tcpFlags reads SYN,ACK, ALL, NONE, or a number as iptables -L -n prints it.
func tcpFlags(v string) (uint8, error) {
	if n, err := strconv.ParseUint(v, 0, 8); err == nil {
		return uint8(n), nil
	}
	var out uint8
	for f := range strings.SplitSeq(v, ",") {
		switch strings.ToUpper(f) {
		case "FIN":
			out |= flagFIN
		case "SYN":
			out |= flagSYN
		case "RST":
			out |= flagRST
		case "PSH":
			out |= flagPSH
		case "ACK":
			out |= flagACK
		case "URG":
			out |= flagURG
		case "ALL":
			out |= 0x3f
		case "NONE":
		default:
			return 0, errors.New("TCP flags were expected: SYN, ACK, FIN, RST, URG, PSH, ALL or NONE")
		}
	}
	return out, nil
}
