"""Operators with more than one backend: the torch reference of each is its definition.

One module an operator: `hash_grid`, `mlp`, `spherical_harmonics`, `composite`, `march`, `adam`,
`occupancy`. Each takes `backend="reference"` (plain torch, any device, any float type) or
`backend="kernels"` (C++ on the CPU, float32), tested equal in values and gradients.
"""
