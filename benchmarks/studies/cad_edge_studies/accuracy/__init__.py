"""How well the open categories are inspected."""
