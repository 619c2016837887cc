"""What the documentation takes from the code and from other documents when it is built."""
