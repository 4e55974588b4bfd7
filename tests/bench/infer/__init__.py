"""`make bench`: what a tiny request costs, beside servers that do no more than they must."""
