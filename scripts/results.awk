# SPDX-License-Identifier: GPL-2.0
# Reads the output of test_progs and prints a line for each result, fields separated by tabs:
#
#   OK|FAIL|SKIP  NAME  counts|repeats  REASON
#
# The result of a test with subtests repeats theirs, unless it failed and none of them did.
# REASON is why a test was skipped, where test_progs -v says it.
BEGIN { OFS = "\t" }

# The failed tests follow once more.
/^All error logs:/ { exit }

/^#[0-9\/]+ / {
	result = $0
	sub(/ \(SKIP: [0-9\/]*\)$/, "", result) # how many of its subtests
	if (match(result, /:(OK|FAIL|SKIP)$/)) {
		name = substr(result, 1, RSTART - 1)
		sub(/^#[0-9\/]+ +/, "", name)
		result = substr(result, RSTART + 1)

		split(substr($1, 2), number, "/")
		test = number[1]
		if ($1 ~ /\//) {
			subtests[test]++
			failed[test] += result == "FAIL"
			repeats = 0
		} else
			repeats = subtests[test] && !(result == "FAIL" && !failed[test])
		print result, name, repeats ? "repeats" : "counts", reason
	}
	reason = ""
	next
}

/[Ss][Kk][Ii][Pp]/ { reason = $0 }
