"""Values at points: encodings, small networks, the fields made of them, and their kernels."""
