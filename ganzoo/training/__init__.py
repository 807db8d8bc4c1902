"""How a model is trained: the loop, its steps, and what a step runs on."""
