# Cleaning steps on raw texts, before they are converted.


cdef int clean(Arena* arena, Step* step, Text* text) noexcept nogil:
    """Apply one cleaning step to a text, in place of the text."""
    cdef char* place
    cdef Py_ssize_t i
    cdef Py_ssize_t size = 0
    cdef char c
    if step.what == STEP_TRIM:
        text[0] = stripped(text[0])
        return DONE
    if step.what == STEP_REPLACE:
        for i in range(step.pair_count):
            if replace_all(arena, &step.pairs[i], text) != DONE:
                return ASK_PYTHON
        return DONE
    if step.what != STEP_COLLAPSE and not is_ascii(text.at, text.size):
        return ASK_PYTHON
    place = <char*>allocate(arena, <size_t>text.size)
    if place == NULL:
        return ASK_PYTHON
    for i in range(text.size):
        c = text.at[i]
        if step.what == STEP_UPPER:
            if c'a' <= c <= c'z':
                c -= 32
        elif step.what == STEP_LOWER:
            if c'A' <= c <= c'Z':
                c += 32
        elif step.what == STEP_DIGITS:
            if not is_digit(c):
                continue
        elif is_blank_byte(c):  # collapse
            if size == 0 or place[size - 1] == c' ':
                continue
            c = c' '
        place[size] = c
        size += 1
    if step.what == STEP_COLLAPSE and size > 0 and place[size - 1] == c' ':
        size -= 1
    text.at = place
    text.size = size
    return DONE


cdef int replace_all(Arena* arena, Pair* pair, Text* text) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t found = 0
    cdef Py_ssize_t size
    cdef char* place
    if pair.old.size == 0:
        return ASK_PYTHON
    while i + pair.old.size <= text.size:
        if text.at[i] == pair.old.at[0] and memcmp(text.at + i, pair.old.at, <size_t>pair.old.size) == 0:
            found += 1
            i += pair.old.size
        else:
            i += 1
    if found == 0:
        return DONE
    size = text.size + found * (pair.new.size - pair.old.size)
    place = <char*>allocate(arena, <size_t>size)
    if place == NULL:
        return ASK_PYTHON
    cdef char* start = place
    i = 0
    while i < text.size:
        if (
            i + pair.old.size <= text.size
            and text.at[i] == pair.old.at[0]
            and memcmp(text.at + i, pair.old.at, <size_t>pair.old.size) == 0
        ):
            memcpy(place, pair.new.at, <size_t>pair.new.size)
            place += pair.new.size
            i += pair.old.size
        else:
            place[0] = text.at[i]
            place += 1
            i += 1
    text.at = start
    text.size = size
    return DONE
