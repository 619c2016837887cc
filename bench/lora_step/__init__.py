"""The training step that is measured: models and cells, the methods that are compared, their memory."""
