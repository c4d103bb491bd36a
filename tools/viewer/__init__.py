"""Looking at a trained scene and moving through it: one session, shown in a window or in a browser."""
