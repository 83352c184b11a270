"""How well products are told apart."""
