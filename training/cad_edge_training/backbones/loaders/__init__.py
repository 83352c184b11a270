"""One file per name of a backbone; each imports what it needs when it loads."""
