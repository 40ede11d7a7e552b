"""Faults of network, host and relay, and what no member may notice of them."""
