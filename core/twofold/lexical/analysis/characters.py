"""Characters that are ignored or replaced before a text is split into words.

The tables follow what readers expect: what can't be seen doesn't separate words, and typographic
variants of a hyphen, an apostrophe or a separator of digits are that character.
"""

# Default_Ignorable_Code_Point of Unicode 16: soft hyphens, zero-width blanks and joiners, marks of
# direction, variation selectors, fillers, tags.
_IGNORABLE = (
    (0xAD,), (0x34F,), (0x61C,), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164,), (0xFE00, 0xFE0F), (0xFEFF,),
    (0xFFA0,), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_KEYCAP = "\u20e3"
_TATWEEL = "\u0640"  # stretches an Arabic word
IGNORED = frozenset(
    [chr(code) for ends in _IGNORABLE for code in range(ends[0], ends[-1] + 1)]
    + [_KEYCAP, _TATWEEL]
)
"""Characters that are taken out of a text."""

ZERO_WIDTH_NON_JOINER = "\u200c"
"""Separates the parts of a Persian word, as a hyphen does; ignored in other languages."""

# Hyphens, non-breaking hyphens, figure and en dashes, minus; Armenian and Hebrew hyphens. An em
# dash separates clauses.
_HYPHENS = "\u2010\u2011\u2012\u2013\u2212\u058a\u05be\u1806\u2e17\u30a0"
# Single quotes, modifier letters and the acute accent, typed as apostrophes; the Hebrew geresh.
_APOSTROPHES = "\u2018\u2019\u201b\u2032\u02b9\u02bb\u02bc\u00b4\u055a\u05f3\ua78c"
_QUOTES = "\u201c\u201d\u2033\u05f4"  # stand for the Hebrew gershayim, inside an abbreviation
REPLACED = (
    dict.fromkeys(_HYPHENS, "-")
    | dict.fromkeys(_APOSTROPHES, "'")
    | dict.fromkeys(_QUOTES, '"')
    | {"\u066b": ".", "\u066c": ",", "\u060c": ","}  # Arabic decimal, thousands and list commas
    | {"\u266f": "#"}  # the sharp of music, written for that of C#
)
"""Characters of a text and the ASCII characters that they stand for."""

GROUPING_BLANKS = "\u00a0\u2007\u2009\u202f"
"""Blanks that don't break a line, which group the digits of a number."""

VOWEL_POINTS = (
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew
    "\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
)
"""Hebrew and Arabic marks that most texts leave out, as a character class."""

EMOJI = (
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u2600-\u2604\u260e\u2611\u2614\u2615\u2618"
    "\u261d\u2620\u2622\u2623\u2626\u262a\u262e\u262f\u2638-\u263a\u2640\u2642\u2648-\u2653\u265f"
    "\u2660\u2663\u2665\u2666\u2668\u267b\u267e\u267f\u2692-\u2697\u2699\u269b\u269c\u26a0\u26a1"
    "\u26a7\u26aa\u26ab\u26b0\u26b1\u26bd\u26be\u26c4\u26c5\u26c8\u26ce\u26cf\u26d1\u26d3\u26d4"
    "\u26e9\u26ea\u26f0-\u26f5\u26f7-\u26fa\u26fd\u2702\u2705\u2708-\u270d\u270f\u2712\u2714\u2716"
    "\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763\u2764"
    "\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\U0001f004\U0001f0cf\U0001f300-\U0001f3fa\U0001f400-\U0001f64f\U0001f680-\U0001f6ff"
    "\U0001f7e0-\U0001f7f0\U0001f90c-\U0001faff"
)
"""Emoji of one character without a skin tone, as a character class."""
FLAG_LETTERS = "\U0001f1e6-\U0001f1ff"
"""Regional indicators, a pair of which is a flag, as a character class."""
