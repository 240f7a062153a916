package netfilter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// word is one word of a rule. A quoted one is never an option.
type word struct {
	text   string
	quoted bool
}

// split takes a rule apart as iptables-restore does: at blanks, with double quotes, in which a backslash quotes the next.
func split(line string) ([]word, error) {
	var out []word
	var cur strings.Builder
	var in, any, quoted bool
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			in, any, quoted = !in, true, true
		case c == '\\' && in && i+1 < len(line):
			i++
			cur.WriteByte(line[i])
		case (c == ' ' || c == '\t') && !in:
			if any {
				out = append(out, word{cur.String(), quoted})
				cur.Reset()
				any, quoted = false, false
			}
		default:
			cur.WriteByte(c)
			any = true
		}
	}
	if in {
		return nil, errors.New("a quotation mark isn't closed")
	}
	if any {
		out = append(out, word{cur.String(), quoted})
	}
	return out, nil
}

// decoder turns the words of a rule, from behind the chain's name, into conditions and an action.
type decoder struct {
	words  []word
	i      int
	rule   *Rule
	module string
	opaque int // index+1 of the condition that the module's options belong to, where it isn't known
}

// decode reads a rule's words. On error the rule is left as one that may match anything and do anything.
func decode(words []word, r *Rule) error {
	d := decoder{words: words, rule: r}
	err := d.run()
	if err != nil {
		spoil(r, err)
	}
	return err
}

func spoil(r *Rule, err error) {
	r.Problem = err.Error()
	r.conditions = []condition{{text: r.Text, test: anything{}}}
	r.action = action{kind: actUnknown}
}

func (d *decoder) run() error {
	for d.i < len(d.words) {
		neg := false
		if d.words[d.i].text == "!" && !d.words[d.i].quoted {
			neg = true
			d.i++
			if d.i == len(d.words) {
				return errors.New("nothing follows the exclamation mark")
			}
		}
		w := d.words[d.i]
		if w.quoted || len(w.text) < 2 || w.text[0] != '-' {
			return fmt.Errorf("an option was expected at %q", w.text)
		}
		d.i++
		opt := w.text
		if name, value, ok := strings.Cut(opt, "="); ok && strings.HasPrefix(opt, "--") {
			opt = name
			d.words = slices.Insert(slices.Clone(d.words), d.i, word{value, true})
		}
		if !neg && d.i+1 < len(d.words) && d.words[d.i].text == "!" && !strings.HasPrefix(d.words[d.i+1].text, "-") {
			neg = true // as iptables before 1.4.3 printed it
			d.i++
		}
		if err := d.option(opt, neg); err != nil {
			return err
		}
	}
	return d.finish()
}

// arg takes an option's argument.
func (d *decoder) arg(opt string) (string, error) {
	if d.i >= len(d.words) {
		return "", fmt.Errorf("%s has no value", opt)
	}
	d.i++
	return d.words[d.i-1].text, nil
}

func (d *decoder) add(neg bool, t test, text ...string) {
	d.rule.conditions = append(d.rule.conditions, condition{neg: neg, text: strings.Join(text, " "), test: t})
}

// option reads one option and its values.
func (d *decoder) option(opt string, neg bool) error {
	switch opt {
	case "-4", "--ipv4", "-6", "--ipv6":
		return nil
	case "-c", "--set-counters":
		if _, err := d.arg(opt); err != nil {
			return err
		}
		_, err := d.arg(opt)
		return err
	case "-f", "--fragment":
		d.add(neg, flags{mask: 0, set: 0xff}, opt) // never: a TCP connection's first packet is no later fragment
		return nil
	case "-m", "--match":
		v, err := d.arg(opt)
		if err != nil {
			return err
		}
		d.match(v)
		return nil
	case "-j", "--jump", "-g", "--goto":
		v, err := d.arg(opt)
		if err != nil {
			return err
		}
		if d.rule.Target != "" {
			return fmt.Errorf("a second target, %s", v)
		}
		d.rule.Target, d.rule.Goto = v, opt == "-g" || opt == "--goto"
		kind, builtin := kindOf(v)
		if !builtin || d.rule.Goto {
			kind = actJump
		}
		d.rule.action.kind = kind
		d.opaque = 0
		return nil
	case "--syn":
		d.add(neg, flags{mask: flagSYN | flagRST | flagACK | flagFIN, set: flagSYN}, opt)
		return nil
	case "--socket-exists":
		d.add(neg, socketExists{}, opt)
		return nil
	case "--suppl-groups":
		for i, c := range d.rule.conditions {
			if o, ok := c.test.(owner); ok {
				o.others = true
				d.rule.conditions[i].test = o
			}
		}
		return nil
	case "--transparent", "--nowildcard", "--restore-skmark":
		if d.module == "socket" {
			return nil
		}
	case "--tcp-flags":
		mask, err := d.arg(opt)
		if err != nil {
			return err
		}
		set, err := d.arg(opt)
		if err != nil {
			return err
		}
		m, err1 := tcpFlags(mask)
		s, err2 := tcpFlags(set)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		d.add(neg, flags{m, s}, opt, mask, set)
		return nil
	}
	// Two modules that aren't known here have options of these names.
	if d.opaque == 0 || opt != "--proto" && opt != "--mark" {
		if parse := matchOption(opt, d.module); parse != nil {
			v, err := d.arg(opt)
			if err != nil {
				return err
			}
			t, err := parse(v)
			if err != nil {
				return fmt.Errorf("%s %s: %w", opt, v, err)
			}
			if t != nil {
				d.add(neg, t, opt, v)
			}
			return nil
		}
	}
	if d.rule.Target != "" {
		known, err := d.targetOption(opt)
		if known || err != nil {
			return err
		}
	}
	d.unknown(opt, neg)
	return nil
}

// match notes that a module is in use. The options of one that isn't known become a condition that may hold or not.
func (d *decoder) match(module string) {
	d.module, d.opaque = module, 0
	switch module {
	case "tcp", "udp", "multiport", "owner", "addrtype", "conntrack", "state", "mark", "connmark", "comment", "iprange":
	case "icmp", "icmp6", "icmpv6":
		d.add(false, protocol(1), "-m", module) // whichever it is: not the protocol of a port
	case "socket":
		d.add(false, openSocket{}, "-m", module)
	default:
		d.add(false, anything{volatile: volatile(module)}, "-m", module)
		d.opaque = len(d.rule.conditions)
	}
}

func volatile(module string) bool {
	switch module {
	case "limit", "statistic", "hashlimit", "recent", "quota", "nth", "random", "connlimit", "rateest":
		return true
	}
	return false
}

// unknown keeps an option as written, in the condition of its module.
func (d *decoder) unknown(opt string, neg bool) {
	text := opt
	if neg {
		text = "! " + opt
	}
	for d.i < len(d.words) && (d.words[d.i].quoted || d.words[d.i].text != "!" && !strings.HasPrefix(d.words[d.i].text, "-")) {
		text += " " + d.words[d.i].text
		d.i++
	}
	if d.rule.Target != "" && d.rule.action.kind != actJump {
		if d.rule.action.kind != actNone {
			d.rule.action.kind = actUnknown
		}
		return
	}
	if d.opaque > 0 {
		d.rule.conditions[d.opaque-1].text += " " + text
		return
	}
	d.add(false, anything{}, text)
}

// matchOption gives the reader of a match option's value, nil for an option that isn't known.
func matchOption(opt, module string) func(string) (test, error) {
	switch opt {
	case "-p", "--protocol", "--proto":
		return parseProtocol
	case "-s", "--source", "--src":
		return func(v string) (test, error) { return parseAddress(v, true) }
	case "-d", "--destination", "--dst":
		return func(v string) (test, error) { return parseAddress(v, false) }
	case "-i", "--in-interface":
		return func(v string) (test, error) { return device{pattern: v}, nil }
	case "-o", "--out-interface":
		return func(v string) (test, error) { return device{out: true, pattern: v}, nil }
	case "--dport", "--destination-port", "--dports", "--destination-ports":
		return func(v string) (test, error) { return parsePorts(v, ports{destination: true}) }
	case "--sport", "--source-port", "--sports", "--source-ports":
		return func(v string) (test, error) { return parsePorts(v, ports{source: true}) }
	case "--ports", "--port":
		return func(v string) (test, error) { return parsePorts(v, ports{source: true, destination: true}) }
	case "--uid-owner":
		return func(v string) (test, error) { return parseOwner(v, false) }
	case "--gid-owner":
		return func(v string) (test, error) { return parseOwner(v, true) }
	case "--dst-type":
		return func(v string) (test, error) { return addrType{types: strings.Split(v, ",")}, nil }
	case "--src-type":
		return func(v string) (test, error) { return addrType{source: true, types: strings.Split(v, ",")}, nil }
	case "--ctstate", "--state":
		return func(v string) (test, error) { return states(strings.Split(v, ",")), nil }
	case "--ctorigdst":
		return func(v string) (test, error) {
			a, err := parseAddress(v, false)
			if err != nil || len(a.(address).nets) == 0 {
				return anything{}, err
			}
			return original{nets: a.(address).nets}, nil
		}
	case "--ctorigdstport":
		return func(v string) (test, error) {
			p, err := parsePorts(v, ports{destination: true})
			if err != nil || p.(ports).unknown {
				return anything{}, err
			}
			return original{spans: p.(ports).spans}, nil
		}
	case "--ctdir":
		return func(v string) (test, error) {
			if v != "ORIGINAL" && v != "REPLY" {
				return nil, errors.New("ORIGINAL or REPLY was expected")
			}
			return direction{reply: v == "REPLY"}, nil
		}
	case "--ctproto":
		return parseProtocol
	case "--mark":
		return func(v string) (test, error) {
			value, mask, err := parseMark(v)
			return mark{conn: module == "connmark", value: value, mask: mask}, err
		}
	case "--comment":
		return func(string) (test, error) { return nil, nil }
	case "--src-range":
		return func(v string) (test, error) { return parseRange(v, true) }
	case "--dst-range":
		return func(v string) (test, error) { return parseRange(v, false) }
	case "--icmp-type", "--icmpv6-type":
		return func(string) (test, error) { return nil, nil } // what protocol it is has been asked
	}
	return nil
}

// targetOption reads an option of the rule's target.
func (d *decoder) targetOption(opt string) (bool, error) {
	a := &d.rule.action
	if a.kind == actNone && d.rule.Target == "CT" && opt == "--notrack" {
		a.kind = actNotrack
		return true, nil
	}
	if a.kind == actNone || a.kind == actSNAT {
		for d.i < len(d.words) && (d.words[d.i].quoted || !strings.HasPrefix(d.words[d.i].text, "-")) {
			d.i++
		}
		return true, nil
	}
	switch {
	case opt == "--random" || opt == "--random-fully" || opt == "--persistent":
		a.random = a.random || opt != "--persistent"
		return true, nil
	case opt == "--save-mark" && a.kind == actConnmark, opt == "--restore-mark" && a.kind == actConnmark:
		a.save, a.restore = opt == "--save-mark", opt == "--restore-mark"
		a.value, a.mask = ^uint32(0), ^uint32(0)
		return true, nil
	}
	set := targetValue(a, opt)
	if set == nil {
		return false, nil
	}
	v, err := d.arg(opt)
	if err != nil {
		return true, err
	}
	if err := set(v); err != nil {
		return true, fmt.Errorf("%s %s: %w", opt, v, err)
	}
	return true, nil
}

func targetValue(a *action, opt string) func(string) error {
	switch k := a.kind; {
	case k == actRedirect && (opt == "--to-ports" || opt == "--to-port"):
		return func(v string) (err error) { a.ports, err = parseSpan(v, "-"); return }
	case k == actDNAT && (opt == "--to-destination" || opt == "--to"):
		return a.setDestination
	case k == actTproxy && opt == "--on-port":
		return func(v string) (err error) { a.ports, err = parseSpan(v, "-"); return }
	case k == actTproxy && opt == "--on-ip":
		return func(v string) (err error) {
			a.addr, err = netip.ParseAddr(v)
			if a.addr.IsUnspecified() {
				a.addr = netip.Addr{}
			}
			return
		}
	case k == actTproxy && opt == "--tproxy-mark":
		return func(v string) (err error) { a.value, a.mask, err = parseMark(v); return }
	case k == actReject && opt == "--reject-with":
		return func(v string) error { a.with = v; return nil }
	case k != actMark && k != actConnmark:
		return nil
	case opt == "--set-mark":
		return func(v string) (err error) { a.value, a.mask, err = parseMark(v); a.mask |= a.value; return }
	case opt == "--set-xmark":
		return func(v string) (err error) { a.value, a.mask, err = parseMark(v); return }
	case opt == "--and-mark":
		return func(v string) (err error) { a.mask, err = number(v); a.value, a.mask = 0, ^a.mask; return }
	case opt == "--or-mark":
		return func(v string) (err error) { a.value, err = number(v); a.mask = a.value; return }
	case opt == "--xor-mark":
		return func(v string) (err error) { a.value, err = number(v); a.mask = 0; return }
	case opt == "--mask" && k == actConnmark:
		return func(v string) (err error) { a.mask, err = number(v); a.value = a.mask; return }
	case opt == "--nfmask" && k == actConnmark || opt == "--ctmask" && k == actConnmark:
		// The mask of what is written clears, the mask of what is read selects.
		return func(v string) error {
			n, err := number(v)
			if (opt == "--nfmask") == a.restore {
				a.mask = n
			} else {
				a.value = n
			}
			return err
		}
	}
	return nil
}

func (d *decoder) finish() error {
	a := d.rule.action
	switch {
	case a.kind == actTproxy && a.ports.to == 0:
		return errors.New("TPROXY without --on-port")
	case a.kind == actDNAT && !a.addr.IsValid() && a.ports.to == 0:
		return errors.New("DNAT without --to-destination")
	}
	return nil
}

// setDestination reads addr[-addr][:port[-port]]; an IPv6 address with a port stands in brackets.
func (a *action) setDestination(v string) error {
	host, port := v, ""
	if rest, ok := strings.CutPrefix(v, "["); ok {
		var closed bool
		if host, port, closed = strings.Cut(rest, "]"); !closed {
			return errors.New("the bracket isn't closed")
		}
		port = strings.TrimPrefix(port, ":")
	} else if strings.Count(v, ":") == 1 {
		host, port, _ = strings.Cut(v, ":")
	}
	if host != "" {
		from, to, ranged := strings.Cut(host, "-")
		var err error
		if a.addr, err = netip.ParseAddr(strings.Trim(from, "[]")); err != nil {
			return errors.New("an address was expected")
		}
		if a.last = a.addr; ranged {
			if a.last, err = netip.ParseAddr(strings.Trim(to, "[]")); err != nil {
				return errors.New("an address was expected")
			}
		}
	}
	if port != "" {
		port, _, _ = strings.Cut(port, "/") // an offset into the range: still within it
		var err error
		if a.ports, err = parseSpan(port, "-"); err != nil {
			return err
		}
	}
	return nil
}

func number(v string) (uint32, error) {
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil {
		return 0, errors.New("a number was expected")
	}
	return uint32(n), nil
}
