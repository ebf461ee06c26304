# Dates as numbers: days since 0001-01-01, which is day 0.

cdef enum:
    LAST_DAY = 3652058  # 9999-12-31


cdef inline bint is_digit(char c) noexcept nogil:
    return c'0' <= c <= c'9'


cdef inline int digits_at(const char* text, int count) noexcept nogil:
    """Read ASCII digits; -1 where there is something else."""
    cdef int number = 0
    cdef int i
    for i in range(count):
        if not is_digit(text[i]):
            return -1
        number = 10 * number + (text[i] - c'0')
    return number


cdef inline bint is_leap(int year) noexcept nogil:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


cdef inline int days_in_month(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if is_leap(year) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline bint is_date(int year, int month, int day) noexcept nogil:
    return year >= 1 and 1 <= month <= 12 and 1 <= day <= days_in_month(year, month)


cdef inline bint is_time(int hour, int minute, int second) noexcept nogil:
    return 0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59


cdef int day_number(int year, int month, int day) noexcept nogil:
    # Years that begin in March put the odd day at their end.
    cdef int y = year - 1 if month <= 2 else year
    cdef int m = month + 9 if month <= 2 else month - 3
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 307


cdef void date_of(int number, int* year, int* month, int* day) noexcept nogil:
    cdef int days = number + 306  # since 0000-03-01
    cdef int era = days // 146097
    cdef int in_era = days - era * 146097
    cdef int y = (in_era - in_era // 1460 + in_era // 36524 - in_era // 146096) // 365
    cdef int in_year = in_era - (365 * y + y // 4 - y // 100)
    cdef int m = (5 * in_year + 2) // 153
    day[0] = in_year - (153 * m + 2) // 5 + 1
    month[0] = m + 3 if m < 10 else m - 9
    year[0] = y + era * 400 + (1 if month[0] <= 2 else 0)


cdef inline void write_digits(char* place, int number, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        place[count - 1 - i] = c'0' + number % 10
        number //= 10


cdef inline void write_date(char* place, int year, int month, int day) noexcept nogil:
    write_digits(place, year, 4)
    place[4] = c'-'
    write_digits(place + 5, month, 2)
    place[7] = c'-'
    write_digits(place + 8, day, 2)


cdef inline bint read_date(const char* text, int* year, int* month, int* day) noexcept nogil:
    """Read ``YYYY-MM-DD``; whether there is such a date."""
    if text[4] != c'-' or text[7] != c'-':
        return False
    year[0] = digits_at(text, 4)
    month[0] = digits_at(text + 5, 2)
    day[0] = digits_at(text + 8, 2)
    return is_date(year[0], month[0], day[0])


cdef inline bint read_time(const char* text, int* hour, int* minute, int* second) noexcept nogil:
    """Read ``HH:MM:SS``; whether there is such a time."""
    if text[2] != c':' or text[5] != c':':
        return False
    hour[0] = digits_at(text, 2)
    minute[0] = digits_at(text + 3, 2)
    second[0] = digits_at(text + 6, 2)
    return is_time(hour[0], minute[0], second[0])
