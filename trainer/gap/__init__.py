"""How far simulated patterns are from measured ones: statistics of a pattern, distances, two-sample tests."""
