# Expressions natively: one class a kind of node, made for its types.
#
# evaluate() gives a value (a condition: a bit, or NULL for unknown), or says ASK_PYTHON: then the closure of the
# whole expression is asked, which knows every corner and every error.  Operands are evaluated in the order,
# and as far, as expression_runtime.py does.


cdef class Node_:
    """A node of an expression."""

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        return ASK_PYTHON


cdef class ConstantNode(Node_):
    cdef Cell value

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        out[0] = self.value
        return DONE


cdef class ColumnNode(Node_):
    cdef int table  # -1: this row
    cdef int column
    cdef Kind kind

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        out[0] = row.cells[self.column] if self.table < 0 else row.ancestors[self.table][self.column]
        return DONE if out.kind == self.kind or out.kind == NULL_KIND else ASK_PYTHON


cdef class PathNode(Node_):
    cdef int capture
    cdef bint is_plain
    cdef bint blank_is_null
    cdef Conversion* conversion

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Text text = row.frame.texts[self.capture]
        out.object = NULL
        if text.at == NULL or (self.blank_is_null and is_blank(text)):
            return set_null(out)
        if self.is_plain:
            return set_text(out, text.at, text.size)
        return convert(row.arena, self.conversion, text, out)


cdef class UnaryNode(Node_):
    cdef Node_ operand


cdef class BinaryNode(Node_):
    cdef Node_ left
    cdef Node_ right

    cdef int both(self, Row* row, Cell* a, Cell* b) except -1:
        """Evaluate both operands; the second only if the first is not NULL."""
        cdef int status = self.left.evaluate(row, a)
        if status != DONE or a.kind == NULL_KIND:
            return status
        return self.right.evaluate(row, b)


cdef class ManyNode(Node_):
    cdef list operands


cdef class PythonNode(ManyNode):
    """What a Python function makes of operands that are not NULL."""

    cdef object function
    cdef bint null_on_error
    cdef bint takes_null

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell cell
        cdef int status
        cdef list arguments = []
        cdef Node_ operand
        out.object = NULL
        for operand in self.operands:
            status = operand.evaluate(row, &cell)
            if status != DONE:
                return status
            if cell.kind == NULL_KIND and not self.takes_null:
                return set_null(out)
            arguments.append(value_of(&cell))
        try:
            value = self.function(*arguments)
        except EvaluationError:
            return set_null(out) if self.null_on_error else ASK_PYTHON
        (<list>row.kept).append(value)
        set_object(out, value)
        return DONE


# ------------------------------------------------------------------------------------------ numbers


cdef class ArithmeticNode(BinaryNode):
    cdef char symbol
    cdef bint is_integer
    cdef Limits limits

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Cell a, b
        cdef int status = self.both(row, &a, &b)
        out.object = NULL
        if status != DONE:
            return status
        if a.kind == NULL_KIND or b.kind == NULL_KIND:
            return set_null(out)
        if self.is_integer:
            if a.kind != INTEGER_KIND or b.kind != INTEGER_KIND:
                return ASK_PYTHON
            return arithmetic_of_integers(self.symbol, a.number, b.number, &self.limits, out)
        if not is_exact(&a) or not is_exact(&b):
            return ASK_PYTHON
        return arithmetic_of_decimals(self.symbol, &a, &b, &self.limits, out)


cdef class NegateNode(UnaryNode):
    cdef Limits limits

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        out.object = NULL
        if out.kind == INTEGER_KIND:
            if -out.number > self.limits.high or -out.number < self.limits.low:
                return ASK_PYTHON
            return set_number(out, INTEGER_KIND, -out.number)
        if out.kind != DECIMAL_KIND:
            return ASK_PYTHON
        return set_decimal(out, -<wide_number>out.number, out.scale, &self.limits)


cdef class RoundNode(UnaryNode):
    cdef int digits
    cdef Limits limits

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef wide_number number
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if out.kind != DECIMAL_KIND:
            return ASK_PYTHON
        if self.digits >= self.limits.scale:
            return DONE if out.scale == self.limits.scale else ASK_PYTHON
        if self.digits >= out.scale:
            return ASK_PYTHON
        if not half_up(out.number, out.scale - self.digits, &number):
            return ASK_PYTHON
        out.object = NULL
        return set_decimal(out, number, self.digits, &self.limits)


cdef class NumberNode(UnaryNode):
    """A conversion between exact numbers, or of a bit."""

    cdef Kind target
    cdef Limits limits

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef wide_number number
        cdef int scale
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if not is_exact(out):
            return ASK_PYTHON
        scale = scale_of(out)
        number = out.number
        out.object = NULL
        if self.target == BIT_KIND:
            return set_number(out, BIT_KIND, out.number != 0)
        if self.target == DECIMAL_KIND:
            return set_decimal(out, number, scale, &self.limits)
        if scale > MOST_DIGITS:
            return ASK_PYTHON
        number = number // POWERS[scale]  # cut off
        if number > self.limits.high or number < self.limits.low:
            return ASK_PYTHON
        return set_number(out, INTEGER_KIND, <long long>number)


cdef class TextToIntegerNode(UnaryNode):
    cdef bint null_on_error
    cdef Limits limits

    cdef int evaluate(self, Row* row, Cell* out) except -1:
        cdef Text text
        cdef long long number = 0
        cdef bint negative = False
        cdef Py_ssize_t i = 0
        cdef int status = self.operand.evaluate(row, out)
        if status != DONE or out.kind == NULL_KIND:
            return status
        if out.kind != TEXT_KIND or not is_ascii(out.text, out.size):
            return ASK_PYTHON
        text = without_blanks(out.text, out.size, True, True)
        out.object = NULL
        if text.size == 0:
            return set_number(out, INTEGER_KIND, 0)
        if text.at[0] == c'-' or text.at[0] == c'+':
            negative = text.at[0] == c'-'
            i = 1
        if text.size - i > MOST_DIGITS:
            return ASK_PYTHON
        if i == text.size:
            return set_null(out) if self.null_on_error else ASK_PYTHON
        while i < text.size:
            if not is_digit(text.at[i]):
                return set_null(out) if self.null_on_error else ASK_PYTHON
            number = 10 * number + (text.at[i] - c'0')
            i += 1
        if negative:
            number = -number
        if number > self.limits.high or number < self.limits.low:
            return set_null(out) if self.null_on_error else ASK_PYTHON
        return set_number(out, INTEGER_KIND, number)
