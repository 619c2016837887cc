"""Rounds beside pfl-research's and Flower's, on equal work: `python -m bench.rounds`."""
