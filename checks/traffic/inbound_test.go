package traffic

import "strings"

// dropping is a filter table with one rule in INPUT.
func dropping(rule string) string {
	return strings.Replace(filter, "COMMIT", "-A INPUT "+rule+"\nCOMMIT", 1)
}
