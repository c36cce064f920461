"""Images rated by people: blind, in an order of each rater's own, and kept after every answer."""
