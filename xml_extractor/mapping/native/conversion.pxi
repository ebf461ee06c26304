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
    AS_TIME
    AS_DATETIME  # every type of a date and a time of day
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
    ZONE_KEEP  # datetimeoffset


cdef enum:
    NO_OFFSET = 100000  # minutes, beyond any that a zone can have


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
    int default_offset  # of a datetimeoffset, minutes east of UTC; NO_OFFSET: none
    int first_day
    int last_day
    bint in_three_hundredths  # datetime
    bint in_minutes  # smalldatetime
    int step_count
    Step* steps
    int code_count
    Code* codes
    bint has_unlisted
    Cell unlisted  # what any other code becomes
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
