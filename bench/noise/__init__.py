"""What audits and checks of the noise share: all settings, opened sums, parties that keep nothing secret."""
