"""Random crystals by Wyckoff positions, thousands a second on a core and more on a GPU, with their peaks."""
