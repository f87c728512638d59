"""Seconds and peak bytes, side by side with the peers, each row a process of its own."""
