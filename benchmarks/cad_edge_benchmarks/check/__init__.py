"""`cad-edge check`: what is wrong with the images of a stream, for people and for machines."""
