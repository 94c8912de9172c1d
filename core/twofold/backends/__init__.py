"""Search engines on servers, for collections or teams that have outgrown a folder on one machine.

Each of them takes the place of an `Index`: it is passed to `Retriever` and to both adapters. It
has an extra of its own, and is imported from its module, such as ``twofold.backends.postgres``.
"""
