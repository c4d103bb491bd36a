"""Single photographs as stacks of planes, the networks that make them and the pictures that teach these."""
