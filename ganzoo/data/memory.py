"""How much of a data set is held in memory."""

IN_MEMORY_BYTES = 2 * 2**30
"""Sets of up to this many bytes of uint8 pixels live on the device; larger ones stream."""
