"""Benchmarks of the project: scripts with committed results, and pytest-benchmark suites."""
