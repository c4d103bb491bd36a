"""What is out there: cameras, rays, images, scenes, and the files that they come from."""
