"""What secure aggregation costs, beside plaintext sums and Flower's SecAgg+: `python -m bench.secagg`."""
