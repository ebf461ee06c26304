"""Finds the parameter markers in a statement: ``?``, but not in literals, quoted names and comments."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=512)
def split_at_markers(sql: str, *, brackets: bool = False) -> tuple[str, ...]:
    """Return the pieces of a statement between its markers: one more than there are markers.

    Args:
        brackets: names may be quoted by square brackets, too (T-SQL).
    """
    if "?" not in sql:
        return (sql,)
    pieces = []
    begin = position = 0
    while position < len(sql):
        character = sql[position]
        stop = position + 1
        if character == "?":
            pieces.append(sql[begin:position])
            begin = stop
        elif character in "'\"":
            # A doubled quote ends one literal and begins the next: the same thing here.
            stop = sql.find(character, position + 1) + 1 or len(sql)
        elif brackets and character == "[":
            stop = sql.find("]", position + 1) + 1 or len(sql)
            while sql.startswith("]", stop):  # "]]" is a bracket of the name itself
                stop = sql.find("]", stop + 1) + 1 or len(sql)
        elif sql.startswith("--", position):
            stop = sql.find("\n", position) + 1 or len(sql)
        elif sql.startswith("/*", position):
            stop = sql.find("*/", position) + 2 if "*/" in sql[position:] else len(sql)
        position = stop
    pieces.append(sql[begin:])
    return tuple(pieces)
