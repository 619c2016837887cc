"""The coordinator's side of SMPC: its connections to the parties, and the parties that it starts on its own machine.

`secagg.smpc` is what uses it. Nothing here can read a share.
"""
