"""Whether a released model tells whose posts it was trained on: `python -m bench.membership`."""
