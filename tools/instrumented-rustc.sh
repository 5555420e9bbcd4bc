#!/usr/bin/env bash
# Compiles a crate of the workspace so that it counts which lines run (tools/coverage.sh).
exec "$@" -C instrument-coverage
