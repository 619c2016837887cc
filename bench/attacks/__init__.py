"""Attacks by servers, clients, parties and strangers on the real product: `python -m bench.attacks`."""
