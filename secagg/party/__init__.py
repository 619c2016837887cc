"""One SMPC party: a process of its own that holds one share of every message and joins the others through CrypTen."""
