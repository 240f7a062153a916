package logscan

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// timeReach is how far into a line a timestamp is looked for: a container runtime or a log shipper may put its own words
// before the line ("2024-05-01T10:11:12Z stderr F …"), hardly more.
const timeReach = 96

// stamp matches a date with a year and a time of day: RFC 3339, Envoy's [2024-05-01 10:11:12.345], Go's 2024/05/01 10:11:12,
// 2024-05-01 10:11:12,345. klog and syslog leave the year out (W0501 10:11:12.345678): such a line has no known time.
var stamp = regexp.MustCompile(`\b(\d{4})([-/])(\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?`)

// jsonStamp matches the time of a structured log's line: zap, Istio, Cloud Logging, Docker, pino, logrus.
var jsonStamp = regexp.MustCompile(`"(?:timestamp|time|ts|@timestamp|receiveTimestamp)"\s*:\s*(?:"([^"]{10,40})"|(\d{9,13}(?:\.\d{1,9})?))`)

// lineTime gives the time that a line carries; zero where it carries none or one without a year. A time without a zone is
// taken as UTC, which is what containers run in. head is the line's start, line what is at hand of it.
func lineTime(head, line []byte) time.Time {
	if isJSON(head) {
		if m := jsonStamp.FindSubmatch(line); m != nil {
			if len(m[1]) > 0 {
				return parseStamp(stamp.FindSubmatch(m[1]))
			}
			return epoch(string(m[2]))
		}
		return time.Time{}
	}
	return parseStamp(stamp.FindSubmatch(head))
}

// isJSON says whether a line looks like JSON: an object, or one of the lines of an indented one.
func isJSON(line []byte) bool {
	t := bytes.TrimLeft(line, " \t")
	return len(t) > 0 && (t[0] == '{' || t[0] == '"')
}

func parseStamp(m [][]byte) time.Time {
	if m == nil {
		return time.Time{}
	}
	n := func(i int) int { v, _ := strconv.Atoi(string(m[i])); return v }
	year, month, day := n(1), n(3), n(4)
	hour, minute, second := n(5), n(6), n(7)
	nanos, _ := strconv.Atoi((string(m[8]) + "000000000")[:9])
	if year == 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if z := string(m[9]); len(z) > 1 {
		h, _ := strconv.Atoi(z[1:3])
		mins, _ := strconv.Atoi(z[len(z)-2:])
		offset := time.Duration(h)*time.Hour + time.Duration(mins)*time.Minute
		if z[0] == '+' {
			offset = -offset
		}
		t = t.Add(offset)
	}
	return t
}

// epoch reads seconds since 1970 with a fraction (zap), or milliseconds (pino), told apart by their size: as seconds, 13
// digits are more than 30,000 years.
func epoch(s string) time.Time {
	whole, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}
	}
	if len(whole) == 13 {
		return time.UnixMilli(n).UTC()
	}
	nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return time.Unix(n, nanos).UTC()
}
