"""Compiled kernels of the lexical leg."""
