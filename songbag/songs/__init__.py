"""Who: songs and their labels, groups and splits; songs become bags."""
