"""Options of CDAD that learn a small product in a second, on a grid of 4 x 4."""

OPTIONS = {
    **{"channels": "16", "width": "16", "inner_width": "16", "updates": "5", "heads": "2"},
    **{"window": "3", "batch": "4", "initial": "drawn"},
}
