package logscan

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// timeReach is how far into a line a timestamp is looked for: a container runtime or a log shipper may put its own words
// before the line ("2024-05-01T10:11:12Z stderr F …"), hardly more.
const timeReach = 96

// moment is where a text carries a time: a stamp, or seconds or milliseconds since 1970; to is 0 where it carries none. It
// doesn't depend on the time's digits.
type moment struct {
	from, to int
	epoch    bool
}

// findTime finds the time of a line; head is its start, line what is at hand of it. Where it is JSON the moment is one of
// line, else of head.
func findTime(head, line []byte) moment {
	from, to, stamp := 0, len(head), true
	if isJSON(head) {
		if from, to, stamp = jsonTime(line); from < 0 {
			return moment{}
		}
		head = line
	}
	if !stamp {
		return moment{from, to, true}
	}
	if i := findStamp(head[from:to]); i >= 0 {
		return moment{from + i, to, false}
	}
	return moment{}
}

// lineTime gives the time that a line carries; zero where it carries none or one without a year.
func lineTime(head, line []byte, r *stampReader) time.Time {
	if isJSON(head) {
		return findTime(head, line).read(line, r)
	}
	return findTime(head, head).read(head, r)
}

// isJSON says whether a line looks like JSON: an object, or one of the lines of an indented one.
func isJSON(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' {
			return c == '{' || c == '"'
		}
	}
	return false
}

// jsonKeys are under what a structured log's line keeps its time: zap, Istio, Cloud Logging, Docker, pino, logrus. Each
// stands here with its closing quote.
var jsonKeys = [][]byte{[]byte(`timestamp"`), []byte(`time"`), []byte(`ts"`), []byte(`@timestamp"`), []byte(`receiveTimestamp"`)}

// The sizes of times in JSON: a string that may hold a date and a time, and seconds or milliseconds since 1970.
const (
	leastTimeText, mostTimeText     = 10, 40
	leastTimeDigits, mostTimeDigits = 9, 13
	mostFraction                    = 9
)

// jsonTime finds the value of the first key of jsonKeys in line that has one that may be a time; from is -1 where none has.
func jsonTime(line []byte) (from, to int, quoted bool) {
	for i := 0; ; i++ {
		n := bytes.IndexByte(line[i:], '"')
		if n < 0 {
			return -1, 0, false
		}
		i += n
		for _, k := range jsonKeys {
			if !bytes.HasPrefix(line[i+1:], k) {
				continue
			}
			at := skipSpace(line, i+1+len(k))
			if at >= len(line) || line[at] != ':' {
				break
			}
			at = skipSpace(line, at+1)
			if at < len(line) && line[at] == '"' {
				end := bytes.IndexByte(line[at+1:], '"')
				if end < 0 {
					break
				}
				if n := utf8.RuneCount(line[at+1 : at+1+end]); n >= leastTimeText && n <= mostTimeText {
					return at + 1, at + 1 + end, true
				}
				break
			}
			end := at + countDigits(line[min(at, len(line)):], mostTimeDigits)
			if end-at < leastTimeDigits {
				break
			}
			if end < len(line) && line[end] == '.' {
				if f := countDigits(line[end+1:], mostFraction); f > 0 {
					end += 1 + f
				}
			}
			return at, end, false
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\f' || b[i] == '\n') {
		i++
	}
	return i
}

// countDigits counts the digits that b begins with, up to most.
func countDigits(b []byte, most int) int {
	n := 0
	for n < len(b) && n < most && digit(b[n]) {
		n++
	}
	return n
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func word(c byte) bool {
	return digit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

// stampLen is the length of a date and a time of day without what may follow: 2024-05-01T10:11:12.
const stampLen = 19

// findStamp gives where the first date with a year and a time of day in b begins: RFC 3339, Envoy's [2024-05-01
// 10:11:12.345], Go's 2024/05/01 10:11:12, 2024-05-01 10:11:12,345. It gives -1 where there is none. klog and syslog leave
// the year out (W0501 10:11:12.345678): such a line has no known time.
func findStamp(b []byte) int {
	for i := 0; i+stampLen <= len(b); i++ {
		if (b[i+4] == '-' || b[i+4] == '/') && isStamp(b[i:i+stampLen]) && (i == 0 || !word(b[i-1])) {
			return i
		}
	}
	return -1
}

func isStamp(b []byte) bool {
	for i, c := range []byte("dddd-dd-ddTdd:dd:dd") {
		ok := b[i] == c
		switch c {
		case 'd':
			ok = digit(b[i])
		case '-':
			ok = ok || b[i] == '/'
		case 'T':
			ok = ok || b[i] == ' '
		}
		if !ok {
			return false
		}
	}
	return true
}

// stampReader reads times; it remembers the last minute, which the next one most often lies in too.
type stampReader struct {
	minute [minuteLen]byte
	start  int64 // of the minute, in seconds since 1970
	ok     bool  // there is such a minute
}

const minuteLen = len("2024-05-01T10:11")

// read reads the date and time that b begins with, with its fraction and its zone; zero where there is no such time. A time
// without a zone is taken as UTC, which is what containers run in.
func (r *stampReader) read(b []byte) time.Time {
	two := func(i int) int { return int(b[i]-'0')*10 + int(b[i+1]-'0') }
	if minute := [minuteLen]byte(b); minute != r.minute {
		year, month, day, hour, minutes := two(0)*100+two(2), two(5), two(8), two(11), two(14)
		r.minute = minute
		r.ok = year > 0 && month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour <= 23 && minutes <= 59
		r.start = time.Date(year, time.Month(month), day, hour, minutes, 0, 0, time.UTC).Unix()
	}
	second := two(17)
	if !r.ok || second > 60 {
		return time.Time{}
	}
	rest, nanos := b[stampLen:], 0
	if len(rest) > 1 && (rest[0] == '.' || rest[0] == ',') {
		n, unit := 0, int(time.Second)
		for n < mostFraction && 1+n < len(rest) && digit(rest[1+n]) {
			unit /= 10
			nanos += int(rest[1+n]-'0') * unit
			n++
		}
		if n > 0 {
			rest = rest[1+n:]
		}
	}
	t := time.Unix(r.start+int64(second), int64(nanos)).UTC()
	if offset, ok := zone(rest); ok {
		t = t.Add(-offset)
	}
	return t
}

// zone reads +09:00 or -0330.
func zone(b []byte) (time.Duration, bool) {
	if len(b) < 5 || (b[0] != '+' && b[0] != '-') || countDigits(b[1:], 2) < 2 {
		return 0, false
	}
	m := b[3:]
	if m[0] == ':' {
		m = m[1:]
	}
	if countDigits(m, 2) < 2 {
		return 0, false
	}
	d := time.Duration(int(b[1]-'0')*10+int(b[2]-'0'))*time.Hour + time.Duration(int(m[0]-'0')*10+int(m[1]-'0'))*time.Minute
	if b[0] == '-' {
		d = -d
	}
	return d, true
}

// epoch reads seconds since 1970 with a fraction (zap), or milliseconds (pino), told apart by their size: as seconds, 13
// digits are more than 30,000 years.
func epoch(s string) time.Time {
	whole, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}
	}
	if len(whole) == mostTimeDigits {
		return time.UnixMilli(n).UTC()
	}
	nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return time.Unix(n, nanos).UTC()
}

// mask writes digit over the digits of the times that b carries: those of the clock in its first timeReach bytes, with the
// dates before them, and the time of a JSON line. It says whether there were any.
//
// Lines that differ only there are the same message at another time.
func mask(b []byte, digit byte) bool {
	any := false
	if isJSON(b[:min(len(b), timeReach)]) {
		if from, to, _ := jsonTime(b); from >= 0 {
			blank(b[from:to], digit)
			any = true
		}
	}
	for i, most := 0, min(len(b), timeReach); i < most; i++ {
		n := bytes.IndexByte(b[i:most], ':')
		if n < 0 {
			break
		}
		i += n
		if end, ok := clock(b, i); ok {
			blank(b[dateStart(b, i-2):end], digit)
			any = true
			i = end - 1
		}
	}
	return any
}

func blank(b []byte, by byte) {
	for i, c := range b {
		if digit(c) {
			b[i] = by
		}
	}
}

// clock says whether the colon at i is the first of a time of day, and where that ends, its fraction included.
func clock(b []byte, i int) (end int, ok bool) {
	if i < 2 || i+6 > len(b) || b[i+3] != ':' || !digit(b[i-2]) || !digit(b[i-1]) || !digit(b[i+1]) || !digit(b[i+2]) || !digit(b[i+4]) || !digit(b[i+5]) {
		return 0, false
	}
	// An address of IPv6 or of a network card is no time.
	if i > 2 && (b[i-3] == ':' || word(b[i-3]) && b[i-3] != 'T') || i+6 < len(b) && (b[i+6] == ':' || word(b[i+6]) && b[i+6] != 'Z') {
		return 0, false
	}
	end = i + 6
	if end+1 < len(b) && (b[end] == '.' || b[end] == ',') {
		if n := countDigits(b[end+1:], mostFraction); n > 0 {
			end += 1 + n
		}
	}
	return end, true
}

// mostDate is the length of a date in digits, 2024-05-01; klog's has four.
const mostDate = 10

// dateStart gives where the date before the time of day at i begins; i where there is none.
func dateStart(b []byte, i int) int {
	if i < 2 || b[i-1] != ' ' && b[i-1] != 'T' {
		return i
	}
	j := i - 1
	for j > 0 && i-1-j < mostDate && (digit(b[j-1]) || b[j-1] == '-' || b[j-1] == '/') {
		j--
	}
	return j
}

// read reads the time of a text that carries it here; zero where it carries none.
func (m moment) read(text []byte, r *stampReader) time.Time {
	switch {
	case m.to == 0:
		return time.Time{}
	case m.epoch:
		return epoch(string(text[m.from:m.to]))
	default:
		return r.read(text[m.from:m.to])
	}
}
