# Expressions and conditions as tables use them: natively where that can be, else by their Python closures.


cdef class Computed:
    """An expression or condition of one table."""

    cdef Node_ native
    cdef object closure
    cdef tuple captures  # that the closure reads
    cdef tuple columns

    def __init__(self, Builder builder, expression, closure, environment, described=None):
        self.closure = closure
        described = expression if described is None else described
        self.captures = tuple(expression_captures(described))
        self.columns = tuple(expression_columns(described))
        self.native = None if expression is None else compile_node(builder, expression, environment)

    cdef int compute(self, Run run, Row* row, Cell* out) except -1:
        """Compute the value; a condition's is a bit, or NULL where it is unknown."""
        out.object = NULL
        if self.native is not None and self.native.evaluate(row, out) == DONE:
            return 0
        return self.ask_closure(run, row, out)

    cdef int ask_closure(self, Run run, Row* row, Cell* out) except -1:
        cdef int i
        context = run.python_context()
        frame = context.expression_frame
        values = [None] * (max(self.columns) + 1 if self.columns else 0)
        for i in self.columns:
            values[i] = value_of(&row.cells[i])
        texts = [None] * (max(self.captures) + 1 if self.captures else 0)
        for i in self.captures:
            if row.frame.texts[i].at != NULL:
                texts[i] = str_of(row.frame.texts[i])
        frame.row = values
        frame.captured = texts
        value = self.closure(frame)
        run.keep(value)
        return set_object(out, value)
