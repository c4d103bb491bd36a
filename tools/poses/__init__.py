"""Camera poses from photographs or a video: structure from motion with pycolmap."""
