"""Where along a ray to read a field."""
