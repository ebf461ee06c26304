# Dates and times in expressions, on their canonical texts.


cdef inline bint date_in(const Cell* cell, int* year, int* month, int* day) noexcept nogil:
    """Read the date at the beginning of a canonical text."""
    return cell.kind == TEXT_KIND and cell.size >= 10 and read_date(cell.text, year, month, day)


cdef class CutTextNode(UnaryNode):
    """datetime to date, and date to datetime2: the text cut off, or with midnight behind it."""

    cdef Py_ssize_t size
    cdef Text behind

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef char* place
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if out.kind != TEXT_KIND or out.size < self.size:
            return ASK_PYTHON
        out.object = NULL
        if self.behind.size == 0:
            return set_text(out, out.text, self.size)
        place = <char*>allocate(row.arena, <size_t>(out.size + self.behind.size))
        if place == NULL:
            return ASK_PYTHON
        memcpy(place, out.text, <size_t>out.size)
        memcpy(place + out.size, self.behind.at, <size_t>self.behind.size)
        return set_text(out, place, out.size + self.behind.size)


cdef class DateAddNode(BinaryNode):
    """DATEADD of days and of months, to a date or a datetime2; the time of day stays as it is."""

    cdef int months  # 0: days

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell number, moment
        cdef int year, month, day
        cdef long long moved
        cdef char* place
        cdef int status = self.both(row, &number, &moment)
        out.object = NULL
        if status != DONE:
            return status
        if number.kind == NULL_KIND or moment.kind == NULL_KIND:
            return set_null(out)
        if number.kind != INTEGER_KIND or not date_in(&moment, &year, &month, &day):
            return ASK_PYTHON
        if number.number > 4000000 or number.number < -4000000:
            return ASK_PYTHON
        if self.months:
            moved = year * 12 + month - 1 + number.number * self.months
            if moved < 12 or moved >= 120000:
                return ASK_PYTHON
            year, month = <int>(moved // 12), <int>(moved % 12) + 1
            day = min(day, days_in_month(year, month))
        else:
            moved = day_number(year, month, day) + number.number
            if moved < 0 or moved > LAST_DAY:
                return ASK_PYTHON
            date_of(<int>moved, &year, &month, &day)
        place = <char*>allocate(row.arena, <size_t>moment.size)
        if place == NULL:
            return ASK_PYTHON
        memcpy(place, moment.text, <size_t>moment.size)
        write_date(place, year, month, day)
        return set_text(out, place, moment.size)


cdef class DateDiffNode(BinaryNode):
    """DATEDIFF of days, months, quarters and years between dates and datetimes."""

    cdef int months  # 0: days

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell start, end
        cdef int year, month, day, last_year, last_month, last_day
        cdef int status = self.both(row, &start, &end)
        out.object = NULL
        if status != DONE:
            return status
        if start.kind == NULL_KIND or end.kind == NULL_KIND:
            return set_null(out)
        if not date_in(&start, &year, &month, &day) or not date_in(&end, &last_year, &last_month, &last_day):
            return ASK_PYTHON
        if self.months:
            return set_number(
                out, INTEGER_KIND,
                (last_year * 12 + last_month - 1) // self.months - (year * 12 + month - 1) // self.months,
            )
        return set_number(
            out, INTEGER_KIND,
            day_number(last_year, last_month, last_day) - day_number(year, month, day),
        )


cdef class DatePartNode(UnaryNode):
    cdef int which  # 0 year, 1 month, 2 day

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef int[3] parts
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if not date_in(out, &parts[0], &parts[1], &parts[2]):
            return ASK_PYTHON
        out.object = NULL
        return set_number(out, INTEGER_KIND, parts[self.which])
