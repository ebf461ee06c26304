# Texts to texts, numbers, bits and identifiers.

# ------------------------------------------------------------------------------------------ texts


cdef inline Py_ssize_t utf16_units(const char* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t units = 0
    cdef Py_ssize_t i
    cdef unsigned char c
    for i in range(size):
        c = <unsigned char>text[i]
        if c & 0xC0 != 0x80:
            units += 2 if c >= 0xF0 else 1
    return units


cdef int padded(Arena* arena, Text text, Py_ssize_t blanks, Cell* out) noexcept nogil:
    cdef char* place
    if blanks == 0:
        return set_text(out, text.at, text.size)
    place = <char*>allocate(arena, <size_t>(text.size + blanks))
    if place == NULL:
        return ASK_PYTHON
    memcpy(place, text.at, <size_t>text.size)
    memset(place + text.size, c' ', <size_t>blanks)
    return set_text(out, place, text.size + blanks)


cdef inline int to_unicode(Arena* arena, Conversion* conversion, Text text, Cell* out) noexcept nogil:
    cdef Py_ssize_t units
    if conversion.limit < 0:
        return set_text(out, text.at, text.size)
    if text.size <= conversion.limit and not conversion.pads:
        return set_text(out, text.at, text.size)
    units = utf16_units(text.at, text.size)
    if units > conversion.limit:
        return ASK_PYTHON
    return padded(arena, text, conversion.limit - units if conversion.pads else 0, out)


cdef inline int to_ascii(Arena* arena, Conversion* conversion, Text text, Cell* out) noexcept nogil:
    if text.size > conversion.limit or not is_ascii(text.at, text.size):
        return ASK_PYTHON
    return padded(arena, text, conversion.limit - text.size if conversion.pads else 0, out)


cdef int to_guid(Arena* arena, Text text, Cell* out) noexcept nogil:
    cdef int i
    cdef char c
    cdef char* place
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    if text.size != 36:
        return ASK_PYTHON
    place = <char*>allocate(arena, 36)
    if place == NULL:
        return ASK_PYTHON
    for i in range(36):
        c = text.at[i]
        if i == 8 or i == 13 or i == 18 or i == 23:
            if c != c'-':
                return ASK_PYTHON
        elif c'A' <= c <= c'F':
            c += 32
        elif not (is_digit(c) or c'a' <= c <= c'f'):
            return ASK_PYTHON
        place[i] = c
    return set_text(out, place, 36)


# ------------------------------------------------------------------------------------------ numbers


cdef int to_integer(Conversion* conversion, Text text, Cell* out) noexcept nogil:
    cdef long long number = 0
    cdef bint negative = False
    cdef Py_ssize_t i = 0
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    if text.at[0] == c'-' or text.at[0] == c'+':
        negative = text.at[0] == c'-'
        i = 1
    if text.size == i or text.size - i > MOST_DIGITS:
        return ASK_PYTHON
    while i < text.size:
        if not is_digit(text.at[i]):
            return ASK_PYTHON
        number = 10 * number + (text.at[i] - c'0')
        i += 1
    if negative:
        number = -number
    if number < conversion.low or number > conversion.high:
        return ASK_PYTHON
    return set_number(out, INTEGER_KIND, number)


cdef int to_decimal(Conversion* conversion, Text text, Cell* out) noexcept nogil:
    cdef long long number = 0
    cdef bint negative = False
    cdef bint has_digit = False
    cdef Py_ssize_t i = 0
    cdef int fraction = -1  # digits behind the point; -1: in front of it
    cdef int digits = 0
    cdef int first_beyond = -1
    cdef bint more_beyond = False
    cdef char c
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    if text.at[0] == c'-' or text.at[0] == c'+':
        negative = text.at[0] == c'-'
        i = 1
    while i < text.size:
        c = text.at[i]
        i += 1
        if c == c'.':
            if fraction >= 0:
                return ASK_PYTHON
            fraction = 0
            continue
        if not is_digit(c):
            return ASK_PYTHON
        has_digit = True
        if fraction == conversion.scale:
            if first_beyond < 0:
                first_beyond = c - c'0'
            elif c != c'0':
                more_beyond = True
            continue
        if number != 0 or c != c'0':
            digits += 1
            if digits > MOST_DIGITS:
                return ASK_PYTHON
        number = 10 * number + (c - c'0')
        if fraction >= 0:
            fraction += 1
    if not has_digit:
        return ASK_PYTHON
    if fraction < 0:
        fraction = 0
    if digits + conversion.scale - fraction > MOST_DIGITS:
        return ASK_PYTHON
    number *= POWERS[conversion.scale - fraction]
    if first_beyond > 0 or more_beyond:
        if conversion.rounding == ROUND_REJECT:
            return ASK_PYTHON
        if conversion.rounding == ROUND_HALF_UP:
            number += first_beyond >= 5
        elif conversion.rounding == ROUND_HALF_EVEN:
            number += first_beyond > 5 or (first_beyond == 5 and (more_beyond or number % 2 == 1))
    if negative:
        number = -number
    if number < conversion.low or number > conversion.high:
        return ASK_PYTHON
    out.scale = conversion.scale
    return set_number(out, DECIMAL_KIND, number)


cdef inline bint is_word(Text text, const char* lower) noexcept nogil:
    """Compare with a word in lower case, in any ASCII case."""
    cdef Py_ssize_t i
    cdef char c
    for i in range(text.size):
        c = text.at[i]
        if c'A' <= c <= c'Z':
            c += 32
        if c != lower[i]:  # also where the word is at its end
            return False
    return lower[text.size] == 0


cdef int to_bit(Text text, bint yes_no, Cell* out) noexcept nogil:
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    if text.size == 1 and (text.at[0] == c'1' or text.at[0] == c'0'):
        return set_number(out, BIT_KIND, text.at[0] == c'1')
    if yes_no:
        if is_word(text, b"y") or is_word(text, b"yes"):
            return set_number(out, BIT_KIND, 1)
        if is_word(text, b"n") or is_word(text, b"no"):
            return set_number(out, BIT_KIND, 0)
    if is_word(text, b"true"):
        return set_number(out, BIT_KIND, 1)
    if is_word(text, b"false"):
        return set_number(out, BIT_KIND, 0)
    return ASK_PYTHON


# ------------------------------------------------------------------------------------------ all together


cdef int convert(Arena* arena, Conversion* conversion, Text text, Cell* out) noexcept nogil:
    """Convert a raw text, if that can be done here."""
    cdef int i
    cdef bint yes_no = False
    out.object = NULL
    for i in range(conversion.code_count):
        if same_text(conversion.codes[i].text, text):
            out[0] = conversion.codes[i].value
            return DONE
    if conversion.has_unlisted and text.size > 0 and stripped(text).size == text.size:
        out[0] = conversion.unlisted
        return DONE
    if conversion.how == BY_PYTHON:
        return ASK_PYTHON
    for i in range(conversion.step_count):
        if conversion.steps[i].what == STEP_YES_NO:
            yes_no = True
        elif clean(arena, &conversion.steps[i], &text) != DONE:
            return ASK_PYTHON
    if conversion.how == AS_UNICODE or conversion.how == AS_ASCII:
        if text.size == 0 and conversion.empty_is_null:
            return set_null(out)
        if conversion.how == AS_UNICODE:
            return to_unicode(arena, conversion, text, out)
        return to_ascii(arena, conversion, text, out)
    if conversion.how == AS_INTEGER:
        return to_integer(conversion, text, out)
    if conversion.how == AS_DECIMAL:
        return to_decimal(conversion, text, out)
    if conversion.how == AS_BIT:
        return to_bit(text, yes_no, out)
    if conversion.how == AS_DATE:
        return to_date(text, out)
    if conversion.how == AS_TIME:
        return to_time(arena, conversion, text, out)
    if conversion.how == AS_DATETIME:
        return to_datetime(arena, conversion, text, out)
    if conversion.how == AS_FORMATTED:
        return to_formatted(arena, conversion, text, out)
    return to_guid(arena, text, out)
