"""Everything that needs a GPU, checked and measured: `python -m bench.gpu`."""
