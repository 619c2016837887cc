"""pytest-benchmark's suites, which `make bench` runs."""
