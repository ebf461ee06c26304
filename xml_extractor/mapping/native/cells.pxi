# Cells to Python values, and back.


cdef enum:
    LONGEST_DECIMAL = 64  # no type has a scale beyond 38, no number of 64 bits more than 19 digits


cdef int write_decimal(char* digits, long long number, int scale) noexcept nogil:
    """Write a number in units of its last digit as plain digits, at the end of LONGEST_DECIMAL characters;
    return where it begins."""
    cdef int place = LONGEST_DECIMAL
    cdef int written = 0
    cdef unsigned long long rest
    rest = <unsigned long long>(-(number + 1)) + 1 if number < 0 else <unsigned long long>number
    while rest != 0 or written <= scale:
        if written == scale and scale > 0:
            place -= 1
            digits[place] = c'.'
        place -= 1
        digits[place] = <char>(c'0' + rest % 10)
        rest //= 10
        written += 1
    if number < 0:
        place -= 1
        digits[place] = c'-'
    return place


cdef object decimal_digits(long long number, int scale):
    """A decimal as text."""
    cdef char[LONGEST_DECIMAL] digits
    cdef int place = write_decimal(digits, number, scale)
    return PyUnicode_DecodeASCII(&digits[place], LONGEST_DECIMAL - place, NULL)


cdef object decimal_of(long long number, int scale):
    """The Decimal of a number in units of its last digit."""
    return PyObject_CallOneArg(Decimal, decimal_digits(number, scale))


cdef inline object value_of(Cell* cell):
    """The Python value of a cell."""
    if cell.object != NULL:
        return <object>cell.object
    if cell.kind == TEXT_KIND:
        return PyUnicode_DecodeUTF8(cell.text, cell.size, NULL)
    if cell.kind == INTEGER_KIND:
        return PyLong_FromLongLong(cell.number)
    if cell.kind == NULL_KIND:
        return None
    if cell.kind == BIT_KIND:
        return cell.number != 0
    return decimal_of(cell.number, cell.scale)


cdef int set_object(Cell* out, object value) except -1:
    """Make a cell of a Python value that the caller keeps alive."""
    cdef int overflow = 0
    out.object = <PyObject*>value
    if value is None:
        out.kind = NULL_KIND
        out.object = NULL
    elif value is True or value is False:
        out.kind = BIT_KIND
        out.number = value is True
    elif type(value) is str:
        out.kind = TEXT_KIND
        try:
            out.text = PyUnicode_AsUTF8AndSize(value, &out.size)
        except UnicodeEncodeError:  # half of a surrogate pair, which a source column may hold
            out.kind = OBJECT_KIND
    elif type(value) is int:
        out.kind = INTEGER_KIND
        out.number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            out.kind = OBJECT_KIND
    else:
        out.kind = OBJECT_KIND
    return 0


cdef int set_constant(Cell* out, object value) except -1:
    """As set_object, for values that are looked at more closely because they stay."""
    set_object(out, value)
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        number = int("".join(map(str, digits)))
        if -MOST_DIGITS <= exponent <= 0 and number < 10**MOST_DIGITS:
            out.kind = DECIMAL_KIND
            out.scale = -exponent
            out.number = -number if sign else number
    return 0
