# Exact arithmetic on numbers in units of their last digit.  What does not fit says so; nothing wraps round.

cdef extern from *:
    """
    #if defined(__SIZEOF_INT128__)
    typedef __int128 wide_number;
    #define WIDE_LIMIT 1e38
    #else
    typedef long long wide_number;
    #define WIDE_LIMIT 9e18
    #endif
    """
    ctypedef long long wide_number
    const double WIDE_LIMIT


cdef inline bint scaled_up(wide_number number, int digits, wide_number* out) noexcept nogil:
    """Multiply by a power of ten; whether that fits."""
    cdef double size = <double>number
    while digits > 0:
        if size > WIDE_LIMIT / 10 or size < -WIDE_LIMIT / 10:
            return False
        number *= 10
        size *= 10
        digits -= 1
    out[0] = number
    return True


cdef inline bint half_up(wide_number number, int digits, wide_number* out) noexcept nogil:
    """Divide by a power of ten, rounding half away from zero; whether that can be done here."""
    cdef wide_number unit
    cdef wide_number rest
    if digits > MOST_DIGITS:
        return False
    unit = POWERS[digits]
    if number >= 0:
        rest = number % unit
        out[0] = number // unit + (rest >= unit - rest)
    else:
        rest = (-number) % unit
        out[0] = -((-number) // unit + (rest >= unit - rest))
    return True


cdef inline bint rescaled(wide_number number, int scale, int wanted, wide_number* out) noexcept nogil:
    if wanted >= scale:
        return scaled_up(number, wanted - scale, out)
    return half_up(number, scale - wanted, out)


cdef struct Limits:
    # What a cell can hold of a type's range: a number beyond it is Python's.
    long long low
    long long high
    int scale


cdef inline int set_decimal(Cell* out, wide_number number, int scale, Limits* limits) noexcept nogil:
    """Round to the type's scale and check its range."""
    if not rescaled(number, scale, limits.scale, &number):
        return ASK_PYTHON
    if number > limits.high or number < limits.low:
        return ASK_PYTHON
    out.scale = limits.scale
    return set_number(out, DECIMAL_KIND, <long long>number)


cdef int limits_of(Limits* out, sql_type) except -1:
    out.low = -INT64_MAX
    out.high = INT64_MAX
    out.scale = sql_type.scale or 0
    if sql_type.family is Family.INTEGER:
        low, out.high = INTEGER_RANGES[sql_type.name]
        out.low = max(low, -INT64_MAX)
    elif sql_type.name in MONEY_RANGES:
        low, high = MONEY_RANGES[sql_type.name]
        out.low, out.high = max(int(low.scaleb(4)), -INT64_MAX), int(high.scaleb(4))
    elif sql_type.precision is not None and sql_type.precision <= MOST_DIGITS:
        out.high = POWERS[<int>sql_type.precision] - 1
        out.low = -out.high
    return 0


cdef inline int scale_of(const Cell* cell) noexcept nogil:
    return cell.scale if cell.kind == DECIMAL_KIND else 0


cdef inline bint is_exact(const Cell* cell) noexcept nogil:
    return cell.kind == DECIMAL_KIND or cell.kind == INTEGER_KIND or cell.kind == BIT_KIND


cdef inline bint compare_numbers(const Cell* a, const Cell* b, int* out) noexcept nogil:
    """Negative, zero or positive into ``out``; whether both are exact numbers that can be compared here."""
    cdef wide_number first = a.number
    cdef wide_number second = b.number
    if not is_exact(a) or not is_exact(b):
        return False
    if not scaled_up(first, max(0, scale_of(b) - scale_of(a)), &first):
        return False
    if not scaled_up(second, max(0, scale_of(a) - scale_of(b)), &second):
        return False
    out[0] = (first > second) - (first < second)
    return True


cdef int arithmetic_of_integers(char symbol, long long a, long long b, Limits* limits, Cell* out) noexcept nogil:
    cdef wide_number result
    cdef double size
    if symbol == c'/' or symbol == c'%':
        if b == 0 or a < -INT64_MAX:
            return ASK_PYTHON
        # C cuts off towards zero, as T-SQL does.
        result = <wide_number>a // b if symbol == c'/' else <wide_number>a % b
    else:
        size = <double>a * <double>b if symbol == c'*' else <double>a + <double>b
        if symbol == c'-':
            size = <double>a - <double>b
        if size > 9e18 or size < -9e18:
            return ASK_PYTHON
        result = a * b if symbol == c'*' else (a + b if symbol == c'+' else a - b)
    if result > limits.high or result < limits.low:
        return ASK_PYTHON
    return set_number(out, INTEGER_KIND, <long long>result)


cdef int arithmetic_of_decimals(char symbol, const Cell* a, const Cell* b, Limits* limits, Cell* out) noexcept nogil:
    cdef wide_number first = a.number
    cdef wide_number second = b.number
    cdef int scale
    cdef int shift
    if symbol == c'*':
        if <double>a.number * <double>b.number > WIDE_LIMIT or <double>a.number * <double>b.number < -WIDE_LIMIT:
            return ASK_PYTHON
        return set_decimal(out, first * second, scale_of(a) + scale_of(b), limits)
    if symbol == c'/':
        if second == 0:
            return ASK_PYTHON
        shift = limits.scale + scale_of(b) - scale_of(a)
        if shift >= 0:
            if not scaled_up(first, shift, &first):
                return ASK_PYTHON
        elif not scaled_up(second, -shift, &second):
            return ASK_PYTHON
        return set_decimal(out, first // second, limits.scale, limits)  # cut off, not rounded
    if symbol == c'%':
        return ASK_PYTHON
    scale = max(scale_of(a), scale_of(b))
    if not scaled_up(first, scale - scale_of(a), &first) or not scaled_up(second, scale - scale_of(b), &second):
        return ASK_PYTHON
    return set_decimal(out, first + second if symbol == c'+' else first - second, scale, limits)
