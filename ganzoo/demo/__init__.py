"""A trained generator to play with."""
