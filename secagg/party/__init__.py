"""One SMPC party: a process of its own that holds one share of every message and joins the others through CrypTen.

`daemon` listens and serves the coordinator; `state` is a party's side of a round. Beside them the dealer, a process
that is no party, and what a deployment's members agree on: `deployment`, its file, cards and keys.
"""
