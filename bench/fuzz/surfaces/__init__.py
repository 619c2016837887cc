"""The readers of the product that `bench.fuzz` feeds, each with inputs for it and what it may accept."""
