"""Whether a sampler's time tells what it drew: `python -m bench.sampler_timing`."""
