"""What nobody should have sent, to every reader of the product: `python -m bench.fuzz`."""
