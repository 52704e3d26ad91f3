"""Benchmarks that compare hardpoint with its peers in one run: `./build.sh bench`."""
