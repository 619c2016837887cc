"""The `sotto` command, data sets, models, the report's experiments and their figures. Nothing imports this package."""
