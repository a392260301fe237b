#!/bin/sh
# What a plan costs when all of it is cached: the time and memory of `run` and `status`.
#
#   benches/noop.sh [TASKS] [PROGRAM]       (5000 tasks, the release build)
#
# The plan is one data set and TASKS splits of it. It is run once to fill a cache in a temporary folder, and again
# after the two seconds that a file must be left alone for before its digest is remembered; then each command is
# measured three times by GNU time: seconds elapsed, and the most memory in MB.
set -eu

tasks=${1:-5000}
program=$(realpath "${2:-target/release/argd-pipe}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

awk -v tasks="$tasks" 'BEGIN {
    print "name: noop\nmatrix:\n  ratio:"
    for (i = 1; i <= tasks; i++) printf "    - %.6f\n", i / tasks
    print "stages:"
    print "  images: {kind: dataset, with: {source: synthetic, train: " tasks ", test: 10, size: 16}}"
    print "  part:   {kind: split, needs: {dataset: images}, with: {ratio: \"${matrix.ratio}\"}}"
}' > noop.yaml

"$program" run noop.yaml > shown 2>&1 || { cat shown; exit 1; }
sleep 2.1
"$program" run noop.yaml > shown 2>&1

for command in run status; do
    for _ in 1 2 3; do
        /usr/bin/time -f "%e %M" -o measured "$program" "$command" noop.yaml > shown 2>&1
        awk -v command="$command" -v tasks="$tasks" \
            '{ printf "%-6s of %d tasks: %s s, %.0f MB\n", command, tasks, $1, $2 / 1024 }' measured
    done
done
