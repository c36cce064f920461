"""Methods that have learned."""
