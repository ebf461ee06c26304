# Texts in expressions: cut, joined, replaced, fitted to a type.


cdef inline Text without_blanks(const char* at, Py_ssize_t size, bint left, bint right) noexcept nogil:
    """A text without spaces (no other white space) at its ends."""
    cdef Text text
    text.at = at
    text.size = size
    while left and text.size > 0 and text.at[0] == c' ':
        text.at += 1
        text.size -= 1
    while right and text.size > 0 and text.at[text.size - 1] == c' ':
        text.size -= 1
    return text


cdef inline Py_ssize_t bytes_of(Text text, long long characters) noexcept nogil:
    """Bytes of the first characters of a text; all of it where it has fewer."""
    cdef Py_ssize_t i = 0
    while i < text.size:
        if <unsigned char>text.at[i] & 0xC0 != 0x80:
            if characters == 0:
                return i
            characters -= 1
        i += 1
    return text.size


cdef inline bint is_basic(Text text) noexcept nogil:
    """Whether each character is one UTF-16 unit."""
    cdef Py_ssize_t i
    for i in range(text.size):
        if <unsigned char>text.at[i] >= 0xF0:
            return False
    return True


cdef class TextNode(UnaryNode):
    """A text, or an integer written as one, fitted to a text type."""

    cdef Py_ssize_t limit  # -1: none
    cdef bint is_unicode
    cdef bint pads
    cdef bint cuts

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Text text
        cdef Py_ssize_t units, fitting
        cdef bint ascii_only
        cdef char* place
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if out.kind == INTEGER_KIND:
            place = <char*>allocate(row.arena, 24)
            if place == NULL:
                return ASK_PYTHON
            text.at = place
            text.size = snprintf(place, 24, b"%lld", out.number)
            out.object = NULL
            set_text(out, text.at, text.size)
        elif out.kind == TEXT_KIND:
            text.at = out.text
            text.size = out.size
        else:
            return ASK_PYTHON
        if self.is_unicode and (self.limit < 0 or (text.size <= self.limit and not self.pads)):
            return DONE  # the value as it is, with its object
        ascii_only = is_ascii(text.at, text.size)
        if not ascii_only and (not self.is_unicode or not is_basic(text)):
            return ASK_PYTHON
        units = text.size if ascii_only else utf16_units(text.at, text.size)
        if self.limit >= 0 and units > self.limit:
            fitting = self.limit if ascii_only else bytes_of(text, self.limit)
            if not self.cuts and without_blanks(text.at + fitting, text.size - fitting, True, False).size:
                return ASK_PYTHON
            text.size = fitting
            units = self.limit
        elif not self.pads:
            return DONE
        out.object = NULL
        return padded(row.arena, text, self.limit - units if self.pads and self.limit >= 0 else 0, out)


cdef class ConcatNode(ManyNode):
    """CONCAT, and ``+``, which is NULL when any operand is."""

    cdef bint skips_null

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell[16] cells
        cdef Py_ssize_t size = 0
        cdef int count = 0
        cdef int i, status
        cdef Node_ operand
        cdef char* place
        out.object = NULL
        for operand in self.operands:
            status = operand.evaluate(row, &cells[count])
            if status != DONE:
                return status
            if cells[count].kind == NULL_KIND:
                if self.skips_null:
                    continue
                return set_null(out)
            if cells[count].kind != TEXT_KIND:
                return ASK_PYTHON
            size += cells[count].size
            count += 1
        place = <char*>allocate(row.arena, <size_t>size)
        if place == NULL:
            return ASK_PYTHON
        set_text(out, place, size)
        for i in range(count):
            memcpy(place, cells[i].text, <size_t>cells[i].size)
            place += cells[i].size
        return DONE


cdef enum Cut:
    CUT_LEFT
    CUT_RIGHT
    CUT_SUBSTRING


cdef class CutNode(ManyNode):
    """LEFT, RIGHT and SUBSTRING."""

    cdef Cut which

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell[3] cells
        cdef int i = 0
        cdef int status
        cdef Node_ operand
        cdef Text text
        cdef long long first, count
        cdef Py_ssize_t start, units
        out.object = NULL
        for operand in self.operands:
            status = operand.evaluate(row, &cells[i])
            if status != DONE:
                return status
            if cells[i].kind == NULL_KIND:
                return set_null(out)
            if cells[i].kind != (TEXT_KIND if i == 0 else INTEGER_KIND):
                return ASK_PYTHON
            i += 1
        count = cells[i - 1].number
        text.at = cells[0].text
        text.size = cells[0].size
        if count < 0 or count > INT32_MAX or not is_basic(text):
            return ASK_PYTHON
        start = 0
        if self.which == CUT_RIGHT:
            units = utf16_units(text.at, text.size)
            if count < units:
                start = bytes_of(text, units - count)
            count = units
        elif self.which == CUT_SUBSTRING:
            first = cells[1].number - 1
            if first > INT32_MAX or first < INT32_MIN:
                return ASK_PYTHON
            if first < 0:
                count = max(count + first, 0)
                first = 0
            start = bytes_of(text, first)
        text.at += start
        text.size -= start
        return set_text(out, text.at, bytes_of(text, count))


cdef class TrimNode(UnaryNode):
    cdef bint left
    cdef bint right

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Text text
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if out.kind != TEXT_KIND:
            return ASK_PYTHON
        text = without_blanks(out.text, out.size, self.left, self.right)
        out.object = NULL
        return set_text(out, text.at, text.size)


cdef class CaseNode_(UnaryNode):
    """UPPER and LOWER."""

    cdef Step step

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Text text
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if out.kind != TEXT_KIND:
            return ASK_PYTHON
        text.at = out.text
        text.size = out.size
        out.object = NULL
        if clean(row.arena, &self.step, &text) != DONE:
            return ASK_PYTHON
        return set_text(out, text.at, text.size)


cdef class LengthNode(UnaryNode):
    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Text text
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if out.kind != TEXT_KIND:
            return ASK_PYTHON
        text = without_blanks(out.text, out.size, False, True)
        out.object = NULL
        return set_number(out, INTEGER_KIND, utf16_units(text.at, text.size))


cdef inline char lowered(char c) noexcept nogil:
    return c + 32 if c'A' <= c <= c'Z' else c


cdef class ReplaceNode(ManyNode):
    """REPLACE of ASCII texts."""

    cdef bint binary

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell[3] cells
        cdef int i = 0
        cdef int status
        cdef Node_ operand
        out.object = NULL
        for operand in self.operands:
            status = operand.evaluate(row, &cells[i])
            if status != DONE:
                return status
            if cells[i].kind == NULL_KIND:
                return set_null(out)
            if cells[i].kind != TEXT_KIND or not is_ascii(cells[i].text, cells[i].size):
                return ASK_PYTHON
            i += 1
        if cells[1].size == 0 or cells[1].size > cells[0].size:
            return set_text(out, cells[0].text, cells[0].size)
        if cells[0].size > 65536 or cells[2].size > 256:
            return ASK_PYTHON  # which bounds what it may grow to
        return self.replaced(row, cells, out)

    cdef int replaced(self, Row* row, Cell* cells, Cell* out) except -1:
        cdef Py_ssize_t size = cells[0].size
        cdef Py_ssize_t wanted = cells[1].size
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t j
        cdef size_t most = <size_t>(size + (size // wanted) * cells[2].size)
        cdef char* start = <char*>allocate(row.arena, most)
        cdef char* place = start
        cdef char a, b
        if start == NULL:
            return ASK_PYTHON
        while i < size:
            if i + wanted <= size:
                for j in range(wanted):
                    a, b = cells[0].text[i + j], cells[1].text[j]
                    if a != b and (self.binary or lowered(a) != lowered(b)):
                        break
                else:
                    memcpy(place, cells[2].text, <size_t>cells[2].size)
                    place += cells[2].size
                    i += wanted
                    continue
            place[0] = cells[0].text[i]
            place += 1
            i += 1
        return set_text(out, start, place - start)
