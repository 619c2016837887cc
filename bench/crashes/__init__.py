"""Runs, parties, workers and disks that are broken at random moments: `python -m bench.crashes`."""
