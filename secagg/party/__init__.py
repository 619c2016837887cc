"""One SMPC party: a process of its own that holds one share of every message and joins the others through CrypTen.

`daemon` listens and serves the coordinator, `state` is a party's side of a round, `mesh` the parties of one round.
Beside them the dealer, a process that is no party. A share never leaves a party but for the opening of a sum.
"""
