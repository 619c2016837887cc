"""Flower as the distributed engine: ServerApp and SuperLink relay sealed shares, clients compute on SuperNodes.

Only `apps` and `simulation` import Flower; everything else works, and is tested, without it.
"""
