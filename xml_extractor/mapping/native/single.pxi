# One expression by itself, for those who want to hold the native nodes against the closures.


cdef class NativeExpression:
    """An expression or condition of a contract, evaluated natively.  Not thread-safe.

    ``is_native`` says whether there are native nodes for all of it.
    """

    cdef readonly bint is_native
    cdef Builder builder
    cdef Node_ node
    cdef Arena arena

    def __cinit__(self):
        if arena_open(&self.arena) < 0:
            raise MemoryError

    def __dealloc__(self):
        arena_close(&self.arena)

    def __init__(self, expression, environment):
        self.builder = Builder()
        self.node = compile_node(self.builder, expression, environment)
        self.is_native = self.node is not None

    def evaluate(self, frame):
        """Return the value for a frame of expression_runtime.

        Raises:
            LookupError: the answer is for the Python closure to give.
        """
        cdef Row row
        cdef Cell result
        cdef Frame captured
        cdef list kept = []
        cdef Cell* ancestors[64]
        cdef int i
        if self.node is None:
            raise LookupError
        arena_reset(&self.arena)
        row.arena = &self.arena
        row.kept = <PyObject*>kept
        row.cells = self.cells(frame.row)
        row.ancestors = ancestors
        above = frame.ancestor_rows
        for i, values in above.items() if hasattr(above, "items") else enumerate(above):
            ancestors[i] = self.cells(values)
        memset(&captured, 0, sizeof(Frame))
        captured.texts = <Text*>allocate_clear(&self.arena, sizeof(Text) * (len(frame.captured) + 1))
        for i, text in enumerate(frame.captured):
            if text is not None:
                captured.texts[i].at = PyUnicode_AsUTF8AndSize(text, &captured.texts[i].size)
        row.frame = &captured
        if self.node.evaluate(&row, &result) != DONE:
            raise LookupError
        return value_of(&result)

    cdef Cell* cells(self, values) except NULL:
        cdef int i
        cdef Cell* found = <Cell*>allocate_clear(&self.arena, sizeof(Cell) * (len(values) + 1))
        for i, value in enumerate(values):
            set_constant(&found[i], value)
        return found
