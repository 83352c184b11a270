"""What CDAD forgets and what a new product gets, by what holds older ones: README.md."""
