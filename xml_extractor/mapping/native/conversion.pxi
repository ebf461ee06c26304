# From raw texts to cells, where that is exact and nothing is wrong.
#
# Every function here answers DONE, or ASK_PYTHON: then the Python converter of the same column is asked,
# which knows all forms, all policies and all messages.  What is done here must be what it would do.

cdef enum:
    DONE
    ASK_PYTHON

cdef enum:
    MOST_DIGITS = 18  # of a number that surely fits into 64 bits
    MOST_CODES = 24  # beyond them a dictionary is faster than looking

cdef enum How:
    BY_PYTHON
    AS_UNICODE  # nchar, nvarchar
    AS_ASCII  # char, varchar of a code page that holds ASCII as it is
    AS_INTEGER
    AS_DECIMAL
    AS_BIT
    AS_DATE
    AS_DATETIME
    AS_FORMATTED
    AS_GUID

cdef enum Step_:
    STEP_TRIM
    STEP_COLLAPSE
    STEP_UPPER
    STEP_LOWER
    STEP_DIGITS
    STEP_YES_NO
    STEP_REPLACE

cdef enum Rounding_:
    ROUND_REJECT
    ROUND_HALF_UP
    ROUND_HALF_EVEN
    ROUND_DOWN


cdef enum Zone_:
    ZONE_REJECT
    ZONE_TO_UTC
    ZONE_DROP


cdef struct Pair:
    Text old
    Text new


cdef struct Step:
    Step_ what
    int pair_count
    Pair* pairs


cdef struct Code:
    Text text
    Cell value


cdef struct Conversion:
    How how
    bint empty_is_null
    bint pads
    Py_ssize_t limit  # characters; -1: none
    long long low
    long long high
    int scale
    Rounding_ rounding
    Zone_ zone
    bint is_date
    int step_count
    Step* steps
    int code_count
    Code* codes
    Text format  # Y m d H M S stand for themselves, each after a zero byte; all else for itself
    PyObject* python


cdef long long[19] POWERS
POWERS[0] = 1
for _power in range(1, 19):
    POWERS[_power] = POWERS[_power - 1] * 10


cdef inline int set_text(Cell* out, const char* at, Py_ssize_t size) noexcept nogil:
    out.kind = TEXT_KIND
    out.text = at
    out.size = size
    return DONE


cdef inline int set_null(Cell* out) noexcept nogil:
    out.kind = NULL_KIND
    return DONE


cdef inline int set_number(Cell* out, Kind kind, long long number) noexcept nogil:
    out.kind = kind
    out.number = number
    return DONE


# ------------------------------------------------------------------------------------------ cleaning


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


# ------------------------------------------------------------------------------------------ dates and times


cdef int to_date(Text text, Cell* out) noexcept nogil:
    cdef int year, month, day
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    if text.size != 10 or not read_date(text.at, &year, &month, &day):
        return ASK_PYTHON
    return set_text(out, text.at, 10)


cdef int write_moment(
    Arena* arena, Conversion* conversion, int year, int month, int day, int hour, int minute, int second,
    Text fraction, Cell* out,
) noexcept nogil:
    """Write a date and time with exactly the type's digits, of which ``fraction`` gives the first."""
    cdef Py_ssize_t size = 19
    cdef char* place
    if conversion.scale > 0:
        size += 1 + conversion.scale
    place = <char*>allocate(arena, <size_t>size)
    if place == NULL:
        return ASK_PYTHON
    write_date(place, year, month, day)
    place[10] = c' '
    write_digits(place + 11, hour, 2)
    place[13] = c':'
    write_digits(place + 14, minute, 2)
    place[16] = c':'
    write_digits(place + 17, second, 2)
    if conversion.scale > 0:
        place[19] = c'.'
        memset(place + 20, c'0', <size_t>conversion.scale)
        memcpy(place + 20, fraction.at, <size_t>fraction.size)
    return set_text(out, place, size)


cdef int take_zone(Text* text, int* offset) noexcept nogil:
    """Cut a zone off a date and time, if it has one, and give its minutes east of UTC."""
    cdef const char* zone
    cdef int hours, minutes
    if text.at[text.size - 1] == c'Z':
        text.size -= 1
        return DONE
    if text.size < 25:
        return DONE
    zone = text.at + text.size - 6
    if zone[3] != c':' or (zone[0] != c'+' and zone[0] != c'-'):
        return DONE
    hours = digits_at(zone + 1, 2)
    minutes = digits_at(zone + 4, 2)
    if hours < 0 or minutes < 0 or minutes > 59 or 60 * hours + minutes > 840:
        return ASK_PYTHON
    offset[0] = 60 * hours + minutes
    if zone[0] == c'-':
        offset[0] = -offset[0]
    text.size -= 6
    return DONE


cdef int to_datetime(Arena* arena, Conversion* conversion, Text text, Cell* out) noexcept nogil:
    cdef int year, month, day
    cdef int hour = 0
    cdef int minute = 0
    cdef int second = 0
    cdef int offset = 0
    cdef int days
    cdef Text fraction
    cdef Py_ssize_t i
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    fraction.at = b""
    fraction.size = 0
    if text.size < 10 or not read_date(text.at, &year, &month, &day):
        return ASK_PYTHON
    if text.size > 10:
        if conversion.zone != ZONE_REJECT and take_zone(&text, &offset) != DONE:
            return ASK_PYTHON
        if text.size < 19 or (text.at[10] != c'T' and text.at[10] != c' '):
            return ASK_PYTHON
        if not read_time(text.at + 11, &hour, &minute, &second):
            return ASK_PYTHON
        if text.size > 19:
            fraction.at = text.at + 20
            fraction.size = text.size - 20
            if text.at[19] != c'.' or fraction.size < 1 or fraction.size > conversion.scale:
                return ASK_PYTHON
            for i in range(fraction.size):
                if not is_digit(fraction.at[i]):
                    return ASK_PYTHON
    if offset != 0 and conversion.zone == ZONE_TO_UTC:
        minute += 60 * hour - offset
        days = day_number(year, month, day)
        if minute < 0:
            minute += 1440
            days -= 1
        elif minute >= 1440:
            minute -= 1440
            days += 1
        if days < 0 or days > LAST_DAY:
            return ASK_PYTHON
        date_of(days, &year, &month, &day)
        hour, minute = minute // 60, minute % 60
    return write_moment(arena, conversion, year, month, day, hour, minute, second, fraction, out)


cdef int to_formatted(Arena* arena, Conversion* conversion, Text text, Cell* out) noexcept nogil:
    """Read a text that has all the digits of the first format, exactly as it says."""
    cdef int[6] parts
    cdef const char* form = conversion.format.at
    cdef const char* end = form + conversion.format.size
    cdef const char* place = text.at
    cdef const char* behind = text.at + text.size
    cdef int width, which
    cdef char* written
    cdef Text nothing
    nothing.at = b""
    nothing.size = 0
    parts[3] = parts[4] = parts[5] = 0
    while form < end:
        if form[0] != 0:
            if place == behind or place[0] != form[0]:
                return ASK_PYTHON
            form += 1
            place += 1
            continue
        which = form[1]
        form += 2
        width = 4 if which == 0 else 2
        if behind - place < width:
            return ASK_PYTHON
        parts[which] = digits_at(place, width)
        if parts[which] < 0:
            return ASK_PYTHON
        place += width
    if place != behind or not is_date(parts[0], parts[1], parts[2]):
        return ASK_PYTHON
    if conversion.is_date:
        written = <char*>allocate(arena, 10)
        if written == NULL:
            return ASK_PYTHON
        write_date(written, parts[0], parts[1], parts[2])
        return set_text(out, written, 10)
    if not is_time(parts[3], parts[4], parts[5]):
        return ASK_PYTHON
    return write_moment(
        arena, conversion, parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], nothing, out
    )


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
    if conversion.how == AS_DATETIME:
        return to_datetime(arena, conversion, text, out)
    if conversion.how == AS_FORMATTED:
        return to_formatted(arena, conversion, text, out)
    return to_guid(arena, text, out)
