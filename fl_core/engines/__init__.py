"""Engines: what drives the rounds. `local` simulates every client in one process."""
