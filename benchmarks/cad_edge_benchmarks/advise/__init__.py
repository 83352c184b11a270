"""`cad-edge advise`: which settings to take for the images and the machine at hand."""
