"""The noise in opened sums of zeros beside what the ledger promises: `python -m bench.variance`."""
