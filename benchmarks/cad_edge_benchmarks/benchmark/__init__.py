"""`cad-edge benchmark`: what a bundle takes on this machine, in time, memory and power."""
