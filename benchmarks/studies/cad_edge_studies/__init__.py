"""Studies: how our own figures and defaults came about; not part of the installation."""
