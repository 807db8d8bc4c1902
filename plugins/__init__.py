"""The plugins that ship with ganzoo: one paper, data set or logger per module."""
