#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, without a network: the tests that need it, the benchmarks, and the sanitizers, in under
# nine minutes, into one file. Nothing of the card is changed.
#
#   bash benchmarks/gpu.sh [FILE]          FILE is benchmarks/results/gpu-CARD.json if it is not given
#   bash benchmarks/gpu.sh --dry [FILE]    a rehearsal without a GPU: everything runs, nothing is timed
#
# PYTHON names another Python than python3. Exits with 1 if anything failed; the rest has been run all the same.
set -u
dry=
if [[ ${1:-} == --dry ]]; then
    dry=--dry
    export TRITON_INTERPRET=1
    shift
fi
results=${1:-}
[[ -z $results || $results == /* ]] || results=$PWD/$results
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # JAX would take most of the card's memory
if [[ -z $results ]]; then
    [[ -z $dry ]] || { echo "name a file to rehearse into" >&2; exit 2; }
    results=$PWD/benchmarks/results/gpu-$("$python" -m benchmarks.gpu.machine name).json
fi
rm -f "$results"
end=530  # seconds since the start
failed=0

# At most so many seconds for a command, and none beyond the end.
limited() {
    local limit=$1 left=$((end - SECONDS))
    shift
    if ((left < limit)); then limit=$left; fi
    if ((limit < 5)); then echo "no time is left for: $*"; return 1; fi
    timeout --kill-after=5 "$limit" "$@"
}

# Benchmarks in a process of their own, so that a fault or a hang costs no others: seconds, name, files.
benchmark() {
    local limit=$1 name=$2
    shift 2
    echo "--- benchmarks: $name ($SECONDS s)"
    limited "$limit" "$python" -m pytest "$@" $dry --gpu-results "$results" --seconds $((limit - 15)) -q -W ignore \
        -p no:cacheprovider -p benchmarks.gpu.tally --tally "$results" --tally-as "benchmarks: $name" 2>&1 | tail -n 15
}

limited 60 "$python" -m benchmarks.gpu.machine "$results" before || exit 2

echo "--- tests ($SECONDS s)"
options=(-m gpu --thorough -q -W default -p no:cacheprovider --continue-on-collection-errors)
if [[ -n $dry ]]; then
    limited 130 "$python" -m pytest tests "${options[@]}" --collect-only | tail -n 1
else
    if "$python" -c "import xdist" 2> /dev/null; then options+=(-n 8); fi
    limited 130 "$python" -m pytest tests "${options[@]}" --maxfail 60 \
        -p benchmarks.gpu.tally --tally "$results" --tally-as tests 2>&1 | tail -n 15
fi

at=benchmarks/gpu
if [[ -n $dry ]]; then
    benchmark 400 rehearsal $at  # in one process, which builds the emulator's kernels once
else
    benchmark 110 "standard work, operations" $at/test_standard_work.py $at/test_operations.py
    benchmark 45 lengths $at/test_sizes.py
    benchmark 100 latency $at/test_latency.py
    benchmark 130 peers $at/test_peers.py
    benchmark 50 users $at/test_users.py
fi

echo "--- sanitizers ($SECONDS s)"
if [[ -n $dry ]]; then
    limited 100 "$python" -m benchmarks.gpu.sanitize --dry || failed=1
else
    for tool in memcheck racecheck; do
        seconds=$((end - SECONDS - 15))
        limited 75 "$python" -m benchmarks.gpu.sanitize "$tool" "$results" $((seconds < 60 ? seconds : 60))
    done
fi

limited 30 "$python" -m benchmarks.gpu.machine "$results" after
echo "--- $results ($SECONDS s)"
"$python" -m benchmarks.gpu.results "$results" || failed=1
exit $failed
