"""How fast training is, and what it is measured against."""
