# Texts to dates and times in their canonical forms, as mapping/temporal.py makes them.


cdef int to_date(Text text, Cell* out) noexcept nogil:
    cdef int year, month, day
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    if text.size != 10 or not read_date(text.at, &year, &month, &day):
        return ASK_PYTHON
    return set_text(out, text.at, 10)


cdef char* write_time(char* place, int seconds, Text fraction, int digits) noexcept nogil:
    """Write a time of day with exactly so many digits, of which ``fraction`` gives the first."""
    write_digits(place, seconds // 3600, 2)
    place[2] = c':'
    write_digits(place + 3, seconds // 60 % 60, 2)
    place[5] = c':'
    write_digits(place + 6, seconds % 60, 2)
    place += 8
    if digits > 0:
        place[0] = c'.'
        memset(place + 1, c'0', <size_t>digits)
        memcpy(place + 1, fraction.at, <size_t>fraction.size)
        place += 1 + digits
    return place


cdef int write_moment(
    Arena* arena, Conversion* conversion, int days, int seconds, Text fraction, int offset, Cell* out
) noexcept nogil:
    """Write a date and time; ``offset``: minutes east of UTC, for the types that hold them."""
    cdef int year, month, day
    cdef char* start
    cdef char* place
    if not conversion.first_day <= days <= conversion.last_day:
        return ASK_PYTHON
    start = <char*>allocate(arena, <size_t>(19 + 1 + conversion.scale + 6))
    if start == NULL:
        return ASK_PYTHON
    date_of(days, &year, &month, &day)
    write_date(start, year, month, day)
    start[10] = c' '
    place = write_time(start + 11, seconds, fraction, conversion.scale)
    if conversion.zone == ZONE_KEEP:
        place[0] = c'+' if offset >= 0 else c'-'
        offset = offset if offset >= 0 else -offset
        write_digits(place + 1, offset // 60, 2)
        place[3] = c':'
        write_digits(place + 4, offset % 60, 2)
        place += 6
    return set_text(out, start, place - start)


cdef int take_zone(Text* text, int* offset) noexcept nogil:
    """Cut a zone off a time, if it has one, and give its minutes east of UTC."""
    cdef const char* zone
    cdef int hours, minutes
    if text.at[text.size - 1] == c'Z':
        text.size -= 1
        offset[0] = 0
        return DONE
    if text.size < 6:
        return DONE
    zone = text.at + text.size - 6
    if zone[0] != c'+' and zone[0] != c'-':
        return DONE
    hours = digits_at(zone + 1, 2)
    minutes = digits_at(zone + 4, 2)
    if zone[3] != c':' or hours < 0 or minutes < 0 or minutes > 59 or 60 * hours + minutes > 840:
        return ASK_PYTHON
    offset[0] = 60 * hours + minutes
    if zone[0] == c'-':
        offset[0] = -offset[0]
    text.size -= 6
    return DONE


cdef int take_time(Conversion* conversion, Text text, int* seconds, Text* fraction) noexcept nogil:
    """Read a time of day with its seconds, and no more of their digits than the type holds."""
    cdef int hour, minute, second
    cdef Py_ssize_t i
    if text.size < 8 or not read_time(text.at, &hour, &minute, &second):
        return ASK_PYTHON
    seconds[0] = 3600 * hour + 60 * minute + second
    if text.size == 8:
        return DONE
    fraction.at = text.at + 9
    fraction.size = text.size - 9
    if text.at[8] != c'.' or fraction.size < 1 or fraction.size > conversion.scale:
        return ASK_PYTHON
    for i in range(fraction.size):
        if not is_digit(fraction.at[i]):
            return ASK_PYTHON
    return DONE


cdef int to_time(Arena* arena, Conversion* conversion, Text text, Cell* out) noexcept nogil:
    cdef int seconds
    cdef int offset = NO_OFFSET
    cdef Text fraction
    cdef char* place
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    fraction.at = b""
    fraction.size = 0
    if conversion.zone != ZONE_REJECT and take_zone(&text, &offset) != DONE:
        return ASK_PYTHON
    if take_time(conversion, text, &seconds, &fraction) != DONE:
        return ASK_PYTHON
    if offset != NO_OFFSET and conversion.zone == ZONE_TO_UTC:
        seconds -= 60 * offset
        if seconds < 0:
            seconds += 86400
        elif seconds >= 86400:
            seconds -= 86400
    place = <char*>allocate(arena, <size_t>(8 + 1 + conversion.scale))
    if place == NULL:
        return ASK_PYTHON
    return set_text(out, place, write_time(place, seconds, fraction, conversion.scale) - place)


cdef int to_three_hundredths(Arena* arena, Text* fraction) noexcept nogil:
    """Round milliseconds as SQL Server's datetime does, if that does not reach the next second."""
    cdef char* place
    cdef int i
    cdef int thousandths = 0
    for i in range(3):
        thousandths = 10 * thousandths + (fraction.at[i] - c'0' if i < fraction.size else 0)
    thousandths = (thousandths * 300 + 500) // 1000
    if thousandths == 300:
        return ASK_PYTHON
    place = <char*>allocate(arena, 3)
    if place == NULL:
        return ASK_PYTHON
    write_digits(place, (thousandths * 1000 + 150) // 300, 3)
    fraction.at = place
    fraction.size = 3
    return DONE


cdef int to_datetime(Arena* arena, Conversion* conversion, Text text, Cell* out) noexcept nogil:
    cdef int year, month, day, days
    cdef int seconds = 0
    cdef int offset = NO_OFFSET
    cdef Text fraction
    text = stripped(text)
    if text.size == 0:
        return set_null(out)
    fraction.at = b""
    fraction.size = 0
    if text.size < 10 or not read_date(text.at, &year, &month, &day):
        return ASK_PYTHON
    days = day_number(year, month, day)
    if text.size > 10:
        if text.at[10] != c'T' and text.at[10] != c' ':
            return ASK_PYTHON
        text.at += 11
        text.size -= 11
        if text.size == 0:
            return ASK_PYTHON
        if conversion.zone != ZONE_REJECT and take_zone(&text, &offset) != DONE:
            return ASK_PYTHON
        if take_time(conversion, text, &seconds, &fraction) != DONE:
            return ASK_PYTHON
    if conversion.zone == ZONE_KEEP:
        if offset == NO_OFFSET:
            offset = conversion.default_offset
            if offset == NO_OFFSET:
                return ASK_PYTHON
    elif offset != NO_OFFSET and conversion.zone == ZONE_TO_UTC:
        seconds -= 60 * offset
        if seconds < 0:
            seconds += 86400
            days -= 1
        elif seconds >= 86400:
            seconds -= 86400
            days += 1
    if conversion.in_minutes and seconds % 60 != 0:
        return ASK_PYTHON
    if conversion.in_three_hundredths and fraction.size > 0 and to_three_hundredths(arena, &fraction) != DONE:
        return ASK_PYTHON
    return write_moment(arena, conversion, days, seconds, fraction, offset, out)


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
        arena, conversion, day_number(parts[0], parts[1], parts[2]),
        3600 * parts[3] + 60 * parts[4] + parts[5], nothing, 0, out,
    )
