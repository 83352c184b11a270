"""Time and memory of what finds old products' directions: README.md."""
