"""The command `evaluate`: measures a bundle on test images."""
