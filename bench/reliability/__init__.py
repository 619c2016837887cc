"""The page `docs/reliability.md`, from what the recorded checks found: `python -m bench.reliability`."""
