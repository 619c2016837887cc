"""What Flower starts on the SuperLink's host."""

from experiments.flower_server import server_app

__all__ = ["app"]

app = server_app()
