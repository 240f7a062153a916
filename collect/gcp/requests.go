package gcp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// requestWindow is how far back requests are counted: long enough to tell a lasting fault from a restart.
	requestWindow = time.Hour
	// requestPeriod is the interval that counts are added up over.
	requestPeriod = 5 * time.Minute
	// seriesPage is as many time series as are asked for at once; there is one for each method and code.
	seriesPage     = 500
	requestsMethod = "monitoring.projects.timeSeries.list"
)

// collectAPIRequests reads how the control plane's API answered the project's requests, as Cloud Monitoring counts them.
// https://docs.cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-serviceruntime
func (a *API) collectAPIRequests(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	project := req.Target.Project
	acc := access{
		what: "the API request counts of project " + project + " in Cloud Monitoring", method: requestsMethod, project: project,
		permission: "monitoring.timeSeries.list", role: "roles/monitoring.viewer",
	}
	to := a.cfg.Now().UTC().Truncate(time.Second)
	out := evidence.APIRequestCounts{API: trafficDirectorAPI, From: to.Add(-requestWindow), To: to}
	var unreachable []string
	err := a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.monitoring()
		if err != nil {
			return "", err
		}
		l, err := c.Projects.TimeSeries.List("projects/"+project).
			Filter(`metric.type="serviceruntime.googleapis.com/api/request_count" AND resource.type="consumed_api" AND resource.labels.service="`+trafficDirectorAPI+`"`).
			IntervalStartTime(out.From.Format(time.RFC3339)).IntervalEndTime(out.To.Format(time.RFC3339)).
			AggregationAlignmentPeriod(fmt.Sprintf("%ds", int(requestPeriod.Seconds()))).AggregationPerSeriesAligner("ALIGN_DELTA").
			AggregationCrossSeriesReducer("REDUCE_SUM").AggregationGroupByFields("metric.label.response_code", "resource.label.method").
			PageSize(seriesPage).PageToken(token).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		unreachable = append(unreachable, l.Unreachable...)
		for _, e := range l.ExecutionErrors {
			if e != nil {
				unreachable = append(unreachable, e.Message)
			}
		}
		for _, s := range l.TimeSeries {
			if s == nil {
				continue
			}
			point := evidence.APIRequestPoint{}
			if s.Metric != nil {
				point.Code = s.Metric.Labels["response_code"]
			}
			if s.Resource != nil {
				point.Method = s.Resource.Labels["method"]
			}
			for _, p := range s.Points {
				if p == nil || p.Interval == nil || p.Value == nil {
					continue
				}
				if point.Time, err = time.Parse(time.RFC3339Nano, p.Interval.EndTime); err != nil {
					return "", fmt.Errorf("the end of an interval: %w", err)
				}
				switch {
				case p.Value.Int64Value != nil:
					point.Count = *p.Value.Int64Value
				case p.Value.DoubleValue != nil:
					point.Count = int64(*p.Value.DoubleValue)
				default:
					return "", fmt.Errorf("a count of %s isn't a number", point.Code)
				}
				out.Points = append(out.Points, point)
			}
		}
		return l.NextPageToken, nil
	})
	slices.SortFunc(out.Points, func(a, b evidence.APIRequestPoint) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Method, b.Method), strings.Compare(a.Code, b.Code))
	})
	put(ctx, a, set, evidence.APIRequests, out, acc.method, err)
	if err == nil && len(unreachable) > 0 {
		a.fail(ctx, set, evidence.APIRequests.Name(), acc.method, &partialError{acc.what, strings.Join(unreachable, ", ")})
	}
	return nil
}
