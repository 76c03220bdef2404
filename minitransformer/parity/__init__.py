"""Parity as a tool: trace a model, compare anybody's port with it, name the first wrong operation and its cause."""
