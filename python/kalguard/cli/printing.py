"""What goes to a terminal: text from elsewhere must not steer it."""


def printable(text: str) -> str:
    """Without anything that would move a terminal's cursor or show nothing."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
