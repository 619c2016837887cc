"""The Flower app of a deployment; see README.md beside it."""
