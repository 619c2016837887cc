"""Language models: public text, tokenizers, pre-training, bases to load, next-word scores and suggestions."""
