"""Canaries through the real pipe, and the bound on epsilon that they prove: `python -m bench.audit`."""
