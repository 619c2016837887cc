"""Engines: the round loop, and who brings it the clients' messages: this machine (`local`) or Flower's nodes."""
