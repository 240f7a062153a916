package evidence

// longestCompared bounds what [Edits] looks at: a label's name or value has 63 letters at most, a resource's name not many more.
const longestCompared = 128

// Edits counts the letters to put in, take out, replace, or swap with the next, that make one name of another: how alike two
// names are. It counts bytes, as names of resources, labels and checks are ASCII, and compares long names by their start.
func Edits(a, b string) int {
	a, b = a[:min(len(a), longestCompared)], b[:min(len(b), longestCompared)]
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
