#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, without a network: the tests that need it, the benchmarks, and the sanitizers, in under
# nine minutes, into one file. Nothing of the card is changed.
#
#   bash benchmarks/gpu.sh [--part N] [FILE]          FILE is benchmarks/results/gpu-CARD.json if it is not given
#   bash benchmarks/gpu.sh --dry [--part N] [FILE]    a rehearsal without a GPU: everything runs, nothing is timed
#
# --part runs one of three, each under eight minutes, and adds to FILE: 1 the tests, standard work and operations; 2 latency,
# peers, users, substitutions and scans; 3 the sanitizers, and what the project's own bench measures. Without it the first two come one after the
# other, and the sanitizers with the time that is left. What a machine lacks (logomaker, TensorFlow, captum, dask, zarr, pysam)
# is left out with a word.
# PYTHON names another Python than python3. Exits with 1 if anything failed; the rest has been run all the same.
set -u
dry= part=
while [[ ${1:-} == --* ]]; do
    case $1 in
        --dry) dry=--dry; export TRITON_INTERPRET=1; shift ;;
        --part) part=${2:-}; [[ $part == [123] ]] || { echo "--part is 1, 2 or 3; got '$part'" >&2; exit 2; }; shift 2 ;;
        *) echo "there is no $1; see the head of this file" >&2; exit 2 ;;
    esac
done
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
[[ -n $part && $part != 1 ]] || rm -f "$results"
end=$([[ -n $part ]] && echo 470 || echo 530)  # seconds since the start
failed=0

# Whether a part is wanted.
wants() { [[ -z $part || $part == "$1" ]]; }

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

at=benchmarks/gpu
if wants 1; then
    echo "--- tests ($SECONDS s)"
    # the files that hold tests of GPUs: collecting all others takes longer than running these
    mapfile -t files < <(grep -lE 'mark\.gpu|library: Library|has_gpu' tests/test_*.py)
    options=(-m gpu --thorough -q -W default -p no:cacheprovider --continue-on-collection-errors)
    if [[ -n $dry ]]; then
        limited 130 "$python" -m pytest "${files[@]}" "${options[@]}" --collect-only | tail -n 1
    else
        if "$python" -c "import xdist" 2> /dev/null; then options+=(-n 8); fi
        limited 200 "$python" -m pytest "${files[@]}" "${options[@]}" --maxfail 60 \
            -p benchmarks.gpu.tally --tally "$results" --tally-as tests 2>&1 | tail -n 15
    fi
    if [[ -n $dry ]]; then
        benchmark 400 "rehearsal 1" $at/test_standard_work.py $at/test_operations.py $at/test_sizes.py
    else
        benchmark 110 "standard work, operations" $at/test_standard_work.py $at/test_operations.py
        benchmark 45 lengths $at/test_sizes.py
    fi
fi

if wants 2; then
    if [[ -n $dry ]]; then
        benchmark 400 "rehearsal 2" $at/test_latency.py $at/test_peers.py $at/test_users.py $at/test_substitutions.py $at/test_scans.py
    else
        benchmark 100 latency $at/test_latency.py
        benchmark 130 peers $at/test_peers.py
        benchmark 50 users $at/test_users.py
        benchmark 70 substitutions $at/test_substitutions.py
        benchmark 90 scans $at/test_scans.py
    fi
fi

if wants 3; then
    echo "--- sanitizers ($SECONDS s)"
    if [[ -n $dry ]]; then
        limited 100 "$python" -m benchmarks.gpu.sanitize --dry || failed=1
    else
        for tool in memcheck racecheck; do
            seconds=$((end - SECONDS - 15))
            most=$([[ -n $part ]] && echo 150 || echo 60)
            limited $((most + 15)) "$python" -m benchmarks.gpu.sanitize "$tool" "$results" $((seconds < most ? seconds : most))
        done
    fi
    if [[ $part == 3 && -z $dry ]]; then
        echo "--- bench ($SECONDS s)"
        limited 150 "$python" -m gradcorr_fast bench --quick --device cuda --force --json "${results%.json}-bench.json"
    fi
fi

limited 30 "$python" -m benchmarks.gpu.machine "$results" after
echo "--- $results ($SECONDS s)"
if [[ $part != 3 ]]; then "$python" -m benchmarks.gpu.results "$results" || failed=1; fi
exit $failed
