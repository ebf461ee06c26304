# Conditions: three-valued, as bits and NULL.


cdef enum Comparing:
    AS_NUMBERS
    AS_BYTES  # texts of a fixed form, and texts under a binary collation
    AS_TEXTS  # ignoring case and trailing blanks
    AS_PADDED  # ignoring trailing blanks


cdef int compare_cells(Comparing how, const Cell* a, const Cell* b, int* out) noexcept nogil:
    """Negative, zero or positive into ``out``; ASK_PYTHON where that cannot be said here."""
    cdef Text first, second
    cdef Py_ssize_t i, size
    if how == AS_NUMBERS:
        return DONE if compare_numbers(a, b, out) else ASK_PYTHON
    if a.kind != TEXT_KIND or b.kind != TEXT_KIND:
        return ASK_PYTHON
    if how == AS_BYTES:
        first.at, first.size = a.text, a.size
        second.at, second.size = b.text, b.size
    else:
        first = without_blanks(a.text, a.size, False, True)
        second = without_blanks(b.text, b.size, False, True)
    size = min(first.size, second.size)
    if how == AS_TEXTS:
        if not is_ascii(first.at, first.size) or not is_ascii(second.at, second.size):
            if same_text(first, second):
                out[0] = 0
                return DONE
            return ASK_PYTHON
        for i in range(size):
            out[0] = lowered(first.at[i]) - lowered(second.at[i])
            if out[0] != 0:
                return DONE
    else:
        out[0] = memcmp(first.at, second.at, <size_t>size)
        if out[0] != 0:
            return DONE
    out[0] = (first.size > second.size) - (first.size < second.size)
    return DONE


cdef enum Operator:
    EQUAL
    UNEQUAL
    LESS
    AT_MOST
    GREATER
    AT_LEAST


cdef class ComparisonNode(BinaryNode):
    cdef Comparing how
    cdef Operator operator

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell a, b
        cdef int order = 0
        cdef int status = self.both(row, &a, &b)
        out.object = NULL
        if status != DONE:
            return status
        if a.kind == NULL_KIND or b.kind == NULL_KIND:
            return set_null(out)
        status = compare_cells(self.how, &a, &b, &order)
        if status != DONE:
            return status
        if self.operator == EQUAL:
            return set_number(out, BIT_KIND, order == 0)
        if self.operator == UNEQUAL:
            return set_number(out, BIT_KIND, order != 0)
        if self.operator == LESS:
            return set_number(out, BIT_KIND, order < 0)
        if self.operator == AT_MOST:
            return set_number(out, BIT_KIND, order <= 0)
        if self.operator == GREATER:
            return set_number(out, BIT_KIND, order > 0)
        return set_number(out, BIT_KIND, order >= 0)


cdef class InNode(ManyNode):
    cdef Node_ operand
    cdef Comparing how

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell wanted, other
        cdef Node_ option
        cdef int order = 0
        cdef bint unknown = False
        cdef int status = self.operand.evaluate(row, &wanted)
        out.object = NULL
        if status != DONE:
            return status
        if wanted.kind == NULL_KIND:
            return set_null(out)
        for option in self.operands:
            status = option.evaluate(row, &other)
            if status == DONE and other.kind == NULL_KIND:
                unknown = True
                continue
            if status == DONE:
                status = compare_cells(self.how, &wanted, &other, &order)
            if status != DONE:
                return status
            if order == 0:
                return set_number(out, BIT_KIND, 1)
        return set_null(out) if unknown else set_number(out, BIT_KIND, 0)


cdef class IsNullNode(UnaryNode):
    cdef bint negated

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell value
        cdef int status = self.operand.evaluate(row, &value)
        out.object = NULL
        if status != DONE:
            return status
        return set_number(out, BIT_KIND, (value.kind == NULL_KIND) != self.negated)


cdef class NotNode(UnaryNode):
    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        out.object = NULL
        return set_number(out, BIT_KIND, out.number == 0)


cdef class AndNode(ManyNode):
    """AND, or OR: ``decides`` is the value that settles it."""

    cdef bint decides

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell value
        cdef Node_ operand
        cdef bint unknown = False
        cdef int status
        out.object = NULL
        for operand in self.operands:
            status = operand.evaluate(row, &value)
            if status != DONE:
                return status
            if value.kind == NULL_KIND:
                unknown = True
            elif (value.number != 0) == self.decides:
                return set_number(out, BIT_KIND, self.decides)
        return set_null(out) if unknown else set_number(out, BIT_KIND, not self.decides)


cdef class ChoiceNode(ManyNode):
    """CASE: conditions and their results in turn, and at the end the result where none holds."""

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell verdict
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t last = len(self.operands) - 1
        cdef int status
        while i < last:
            status = (<Node_>self.operands[i]).evaluate(row, &verdict)
            if status != DONE:
                return status
            if verdict.kind != NULL_KIND and verdict.number:
                return (<Node_>self.operands[i + 1]).evaluate(row, out)
            i += 2
        return (<Node_>self.operands[last]).evaluate(row, out)


cdef class CoalesceNode(ManyNode):
    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Node_ operand
        cdef int status
        out.object = NULL
        set_null(out)
        for operand in self.operands:
            status = operand.evaluate(row, out)
            if status != DONE or out.kind != NULL_KIND:
                return status
        return DONE


cdef class NullIfNode(BinaryNode):
    """``left``, but NULL where the condition ``right`` holds."""

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell verdict
        cdef int status = self.right.evaluate(row, &verdict)
        out.object = NULL
        if status != DONE:
            return status
        if verdict.kind != NULL_KIND and verdict.number:
            return set_null(out)
        return self.left.evaluate(row, out)
