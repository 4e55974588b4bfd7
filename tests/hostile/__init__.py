"""Models that were made to do harm, or cannot be served: what each is, and the refusal that it must get."""
