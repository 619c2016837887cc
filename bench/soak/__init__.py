"""Long runs and clients under load, in which nothing may grow: `python -m bench.soak`."""
