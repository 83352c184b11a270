"""What a line shows: products' folders and their layouts, images, views, depth, and groups."""
