"""Private fine-tuning on one machine, with the interface of Hugging Face's Trainer.

One holder of all records trains and adds the noise itself: no clients, no parties. The gradient, the noise, the ledger
and the budget are those of a federated run; nothing here clips, draws or accounts in a way of its own.
"""
