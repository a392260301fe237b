#!/bin/sh
# What DVC and Snakemake take when nothing is to do: the same graph as noop.sh, one source and TASKS stages that read it.
#
#   python -m venv peers && peers/bin/pip install dvc snakemake
#   benches/noop-peers.sh peers/bin [TASKS]         (200 tasks)
#
# Each runs the graph once; then its no-op is measured three times by GNU time: seconds elapsed, and the most memory
# in MB.
set -eu

bin=$(realpath "$1")
tasks=${2:-200}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

measure() {
    name=$1
    shift
    for _ in 1 2 3; do
        /usr/bin/time -f "%e %M" -o measured "$@" > shown 2>&1
        awk -v name="$name" -v tasks="$tasks" '{ printf "%-9s of %d tasks: %s s, %.0f MB\n", name, tasks, $1, $2 / 1024 }' measured
    done
}

mkdir "$folder/dvc" "$folder/snakemake"
cd "$folder/dvc"
echo images > images
awk -v tasks="$tasks" 'BEGIN {
    print "stages:\n  part:\n    foreach:"
    for (i = 1; i <= tasks; i++) print "      - " i
    print "    do:\n      cmd: echo ${item} > part${item}\n      deps: [images]\n      outs:\n        - part${item}"
}' > dvc.yaml
"$bin/dvc" init -q --no-scm
"$bin/dvc" repro > shown 2>&1 || { cat shown; exit 1; }
measure dvc "$bin/dvc" repro -q

cd "$folder/snakemake"
echo images > images
cat > Snakefile <<END
rule all:
    input: expand("part{i}", i=range(1, $tasks + 1))

rule part:
    input: "images"
    output: "part{i}"
    shell: "echo {wildcards.i} > {output}"
END
"$bin/snakemake" -q all -c 2 all > shown 2>&1 || { cat shown; exit 1; }
measure snakemake "$bin/snakemake" -q all -c 2 all
