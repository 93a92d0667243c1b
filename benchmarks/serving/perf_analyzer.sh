#!/bin/sh
# NVIDIA's perf_analyzer against a running `deploykit serve`, over HTTP and over gRPC.
#
#   PERF_ANALYZER=/path/to/perf_analyzer benchmarks/serving/perf_analyzer.sh MODEL [OPTION...]
#
# HTTP_URL (127.0.0.1:8000), GRPC_URL (127.0.0.1:8001): the server.
# CONCURRENCY ("1 4"): numbers of concurrent requests.   REQUESTS (200): requests per measurement.
# INPUT_DATA (zero): perf_analyzer's own default `random` fills floats with random bits, NaN among them, which
# this server refuses as it refuses any NaN.
# Further options go to perf_analyzer: `--shape images:3,640,640` for a model with dynamic sizes, `-b 4` ...
#
# The binary is in the wheel perf-analyzer 2.60.0 (tag manylinux_2_38: with an older glibc, `pip download
# perf-analyzer==2.60.0 --platform manylinux_2_38_x86_64 --only-binary=:all: --no-deps`, unpack it beside Debian
# 13's libc6, libstdc++6, libgcc-s1, zlib1g, libssl3t64 and libzstd1, and let PERF_ANALYZER be a script that runs
# `ld-linux-x86-64.so.2 --library-path FOLDER perf_analyzer "$@"`).
set -eu

perf_analyzer=${PERF_ANALYZER:?name the perf_analyzer binary in PERF_ANALYZER}
model=${1:?name the model, as in: $0 MODEL [OPTION...]}
shift

measure() {
    for concurrency in ${CONCURRENCY:-1 4}; do
        echo "== $*"
        "$perf_analyzer" -m "$model" --service-kind triton --request-count "${REQUESTS:-200}" \
            --concurrency-range "$concurrency" --input-data "${INPUT_DATA:-zero}" "$@"
    done
}

http=${HTTP_URL:-127.0.0.1:8000}
grpc=${GRPC_URL:-127.0.0.1:8001}
measure -i http -u "$http" "$@"
measure -i http -u "$http" --input-tensor-format json --output-tensor-format json "$@"
measure -i grpc -u "$grpc" "$@"
measure -i grpc -u "$grpc" -a --streaming "$@"
