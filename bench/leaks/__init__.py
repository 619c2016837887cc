"""Secrets, looked for in everything that commands write: `python -m bench.leaks`."""
