package lab

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	logging "google.golang.org/api/logging/v2"
	monitoring "google.golang.org/api/monitoring/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// operations registers Cloud Logging and Cloud Monitoring.
func (g *googleAPIs) operations() {
	readOnly := []string{"cloud-platform.read-only"}
	g.handle("POST /v2/entries:list", api{host: loggingHost, permission: "logging.logEntries.list",
		scopes: append([]string{"logging.read", "logging.admin"}, readOnly...)}, g.logEntries)
	g.handle("GET /v3/projects/{project}/timeSeries", api{host: monitoringHost, permission: "monitoring.timeSeries.list",
		scopes: append([]string{"monitoring", "monitoring.read"}, readOnly...)}, g.timeSeries)
}

// What the lab understands of a filter: which VM, and since when. Every entry of a scenario is one that a diagnosis of that
// VM may ask for.
var (
	filterInstance = regexp.MustCompile(`resource\.labels\.instance_id\s*=\s*"(\d+)"`)
	filterSince    = regexp.MustCompile(`timestamp\s*>=?\s*"([^"]+)"`)
)

func (g *googleAPIs) logEntries(_ identity, r *http.Request) (any, error) {
	var req logging.ListLogEntriesRequest
	if err := readBody(r, &req); err != nil {
		return nil, err
	}
	if len(req.ResourceNames) == 0 {
		return nil, status.Error(codes.InvalidArgument, "resource_names must name at least one resource.")
	}
	for _, n := range req.ResourceNames {
		if project, ok := strings.CutPrefix(n, "projects/"); !ok || !g.scenario.isProject(project) {
			return nil, errPermission("logging.logEntries.list", "//"+loggingHost+"/"+n)
		}
	}
	var since time.Time
	if m := filterSince.FindStringSubmatch(req.Filter); m != nil {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, m[1]); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "Unparseable filter: %v", err)
		}
	}
	instance := ""
	if m := filterInstance.FindStringSubmatch(req.Filter); m != nil {
		instance = m[1]
	}
	all := g.entriesOf(instance, since, time.Now().UTC())
	switch req.OrderBy {
	case "", "timestamp asc":
	case "timestamp desc":
		slices.Reverse(all)
	default:
		return nil, status.Errorf(codes.InvalidArgument, "order_by: %q is not supported", req.OrderBy)
	}
	size := maxPageSize
	if req.PageSize > 0 {
		size = min(size, int(req.PageSize))
	}
	items, next, err := cut(all, size, req.PageToken)
	return &logging.ListLogEntriesResponse{Entries: items, NextPageToken: next}, err
}

// stamp is RFC 3339 in UTC, all of one length: such times sort as text.
const stamp = "2006-01-02T15:04:05.000000000Z"

// entriesOf gives the entries of one VM, or of all, oldest first.
func (g *googleAPIs) entriesOf(instance string, since, now time.Time) []*logging.LogEntry {
	s := g.scenario
	var out []*logging.LogEntry
	for _, v := range s.Instances {
		id := strconv.FormatUint(resourceID("instances/"+v.Name), 10)
		if instance != "" && instance != id {
			continue
		}
		for _, e := range v.Log {
			ago, err := time.ParseDuration(e.Ago)
			at := now.Add(-ago)
			if err != nil || at.Before(since) {
				continue
			}
			out = append(out, &logging.LogEntry{LogName: "projects/" + s.Project.ID + "/logs/" + e.Log,
				Resource: &logging.MonitoredResource{Type: "gce_instance",
					Labels: map[string]string{"instance_id": id, "zone": s.Zone, "project_id": s.Project.ID}},
				Timestamp: at.Format(stamp), ReceiveTimestamp: at.Format(stamp), Severity: "INFO",
				InsertId: "lab" + strconv.Itoa(len(out)), JsonPayload: jsonMessage(e.Text)})
		}
	}
	slices.SortStableFunc(out, func(a, b *logging.LogEntry) int { return strings.Compare(a.Timestamp, b.Timestamp) })
	return out
}

// timeSeries counts the requests to Traffic Director's API, one series a status, in intervals of five minutes.
func (g *googleAPIs) timeSeries(_ identity, r *http.Request) (any, error) {
	q := r.URL.Query()
	from, err1 := time.Parse(time.RFC3339Nano, q.Get("interval.startTime"))
	to, err2 := time.Parse(time.RFC3339Nano, q.Get("interval.endTime"))
	if err1 != nil || err2 != nil || from.After(to) {
		return nil, status.Error(codes.InvalidArgument, "Field interval had an invalid value.")
	}
	var all []*monitoring.TimeSeries
	if filter := q.Get("filter"); strings.Contains(filter, "serviceruntime.googleapis.com/api/request_count") && strings.Contains(filter, trafficDirectorHost) {
		for _, code := range sortedKeys(g.scenario.Requests) {
			all = append(all, requestSeries(code, g.scenario.Requests[code], from, to))
		}
	}
	items, next, err := page(r, "pageSize", all)
	return &monitoring.ListTimeSeriesResponse{TimeSeries: items, NextPageToken: next, Unit: "1"}, err
}

func requestSeries(code string, count int64, from, to time.Time) *monitoring.TimeSeries {
	const period = 5 * time.Minute
	out := &monitoring.TimeSeries{MetricKind: "DELTA", ValueType: "INT64",
		Metric:   &monitoring.Metric{Type: "serviceruntime.googleapis.com/api/request_count", Labels: map[string]string{"response_code": code}},
		Resource: &monitoring.MonitoredResource{Type: "consumed_api", Labels: map[string]string{"method": adsMethod}}}
	for end := to; end.Add(-period).Compare(from) >= 0; end = end.Add(-period) {
		n := count
		out.Points = append(out.Points, &monitoring.Point{Value: &monitoring.TypedValue{Int64Value: &n},
			Interval: &monitoring.TimeInterval{StartTime: end.Add(-period).Format(time.RFC3339), EndTime: end.Format(time.RFC3339)}})
	}
	return out
}

func jsonMessage(text string) []byte {
	b, err := json.Marshal(map[string]string{"message": text})
	if err != nil {
		return nil // a map of strings always encodes
	}
	return b
}
