"""Write Romanian without its diacritics, as Sennrich et al. (2016) do for WMT'16.

Half of the Romanian web leaves them out; a model that learns from both would guess.
"""

# The s and t with a cedilla are a misspelling of those with a comma below.
LETTERS = str.maketrans("ȘșȚțŞşŢţĂăÂâÎî", "SsTtSsTtAaAaIi")


def without_diacritics(line: str) -> str:
    return line.translate(LETTERS)
