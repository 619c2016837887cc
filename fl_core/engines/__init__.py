"""Engines: the round loop, and who brings it the clients' messages: this machine (`local`) or Flower's nodes.

Which engine runs never changes a result beyond float rounding.
"""
