"""Networks, poolings and losses in torch, and what combines, moves and solves them."""
