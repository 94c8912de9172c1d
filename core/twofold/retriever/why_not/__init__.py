"""Why a passage is not among the hits, and which options would bring it in."""
