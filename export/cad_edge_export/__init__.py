"""Fuses what was learned into runtime graphs, certifies them and adds them to a bundle."""
