"""The commands of `sotto`, one module a subject; each has `register(app)`."""
