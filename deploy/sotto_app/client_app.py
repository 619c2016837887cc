"""What Flower starts on a SuperNode's host, for clients and beside aggregation parties."""

from experiments.flower_node import node_app

__all__ = ["app"]

app = node_app()
