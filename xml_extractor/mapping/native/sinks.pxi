# Where the rows of a table go: to Python tuples, or straight to what the target takes.
#
# What is written here is what the table's encoder makes of the same rows (engines/encoding.py).

cdef enum Layout_:
    ALL_VALUES  # tuples of all columns, for whoever asked for rows
    CANONICAL_TUPLES
    PARAMETER_TUPLES
    PICKLED_VALUES
    COPY_LINES
    JSON_ROWS

cdef enum:
    FIRST_ROOM = 1024
    MOST_ROOM = 4194304  # what a buffer may keep from one document to the next
    PICKLED_AT_ONCE = 1000  # items that pickle.Pickler puts behind one MARK
    ESCAPED_AT_ONCE = 65536  # bytes of a text that room is made for as if each had to be escaped


cdef const char* HEX_DIGITS = "0123456789abcdef"
cdef unsigned char[256] COPY_ESCAPES  # what follows the backslash; 0: nothing to escape
cdef unsigned char[256] JSON_ESCAPES  # as above; 'u' stands for the long form
memset(COPY_ESCAPES, 0, 256)
memset(JSON_ESCAPES, 0, 256)
for _character, _letter in (("\\", "\\"), ("\t", "t"), ("\n", "n"), ("\r", "r")):
    COPY_ESCAPES[<int>ord(_character)] = <unsigned char>ord(_letter)
for _number in range(32):
    JSON_ESCAPES[<int>_number] = c'u'
for _character, _letter in (
    ("\\", "\\"), ('"', '"'), ("\t", "t"), ("\n", "n"), ("\r", "r"), ("\b", "b"), ("\f", "f")
):
    JSON_ESCAPES[<int>ord(_character)] = <unsigned char>ord(_letter)


cdef struct Mark:
    size_t size
    Py_ssize_t count
    Py_ssize_t long_size


cdef class Sink:
    """Takes the rows of one table, document by document.

    Args:
        layout: a TableLayout; None: tuples of all columns.
    """

    cdef Layout_ layout
    cdef int width
    cdef int written_count
    cdef int* written
    cdef bint checks_text
    cdef unsigned char* is_long  # per written column of tuples
    cdef Py_ssize_t row_bytes
    cdef object other
    cdef Arena memory
    cdef char* data
    cdef size_t size
    cdef size_t room
    cdef list rows
    cdef Py_ssize_t count
    cdef Py_ssize_t long_size

    def __cinit__(self):
        self.data = NULL
        if arena_open(&self.memory) < 0:
            raise MemoryError

    def __dealloc__(self):
        free(self.data)
        arena_close(&self.memory)

    def __init__(self, int width, layout):
        cdef int i
        written = range(width) if layout is None else layout.written
        self.layout = ALL_VALUES if layout is None else {
            Layout.CANONICAL: CANONICAL_TUPLES, Layout.PARAMETERS: PARAMETER_TUPLES,
            Layout.PICKLED_PARAMETERS: PICKLED_VALUES, Layout.COPY_TEXT: COPY_LINES,
            Layout.JSON_ARRAYS: JSON_ROWS,
        }[layout.layout]
        self.width = width
        self.written_count = len(written)
        self.written = <int*>allocate_clear(&self.memory, sizeof(int) * <size_t>(self.written_count + 1))
        self.is_long = <unsigned char*>allocate_clear(&self.memory, <size_t>(self.written_count + 1))
        if self.written == NULL or self.is_long == NULL:
            raise MemoryError
        for i, column in enumerate(written):
            self.written[i] = column
        if layout is not None:
            self.checks_text = layout.checks_text
            self.other = layout.other
            self.row_bytes = layout.row_bytes
            for i in layout.long:
                self.is_long[i] = 1
        self.rows = []
        self.reset()

    cdef int reset(self) except -1:
        """Forget the rows there are."""
        self.size = 0
        self.count = 0
        self.long_size = 0
        if self.rows:
            self.rows = []
        if self.room > MOST_ROOM:
            free(self.data)
            self.data = NULL
            self.room = 0
        return 0

    cdef Mark mark(self) noexcept:
        cdef Mark found
        found.size = self.size
        found.count = self.count
        found.long_size = self.long_size
        return found

    cdef int back_to(self, Mark mark) except -1:
        """Forget the rows that have come since."""
        self.size = mark.size
        self.count = mark.count
        self.long_size = mark.long_size
        if self.layout <= PARAMETER_TUPLES:
            del self.rows[mark.count:]
        return 0

    # ---- taking rows

    cdef int put(self, Cell* cells, bint remember) except -1:
        """Take a row; ``remember``: have its cells keep the Python values that are made of them."""
        if self.layout == COPY_LINES:
            self.put_line(cells)
        elif self.layout == JSON_ROWS:
            self.put_array(cells)
        elif self.layout == ALL_VALUES:
            self.rows.append(row_of(self.width, cells, remember))
        elif self.layout == PICKLED_VALUES:
            self.put_pickled(cells)
        else:
            self.rows.append(self.tuple_of(cells, remember))
        self.count += 1
        return 0

    cdef int put_row(self, tuple row, Cell* scratch) except -1:
        """Take a row of Python values; ``scratch`` has room for its cells."""
        cdef int i
        if self.layout == ALL_VALUES:
            self.rows.append(row)
            self.count += 1
            return 0
        for i in range(self.width):
            set_object(&scratch[i], row[i])
        return self.put(scratch, False)

    cdef tuple tuple_of(self, Cell* cells, bint remember):
        cdef int i
        cdef tuple row = PyTuple_New(self.written_count)
        for i in range(self.written_count):
            value = self.value_at(cells, i, remember)
            Py_INCREF(value)
            PyTuple_SET_ITEM(row, i, value)
        PyObject_GC_UnTrack(row)  # as in row_of()
        return row

    cdef object value_at(self, Cell* cells, int i, bint remember):
        """The Python value of a written column."""
        cdef Cell* cell = &cells[self.written[i]]
        if self.checks_text:
            self.check_text(cell)
        if self.layout != CANONICAL_TUPLES:
            if cell.kind == BIT_KIND:
                return 1 if cell.number else 0
            if cell.kind == DECIMAL_KIND:
                return decimal_digits(cell.number, cell.scale)
        value = value_of(cell)
        if cell.kind == OBJECT_KIND and self.layout != CANONICAL_TUPLES and type(value) is Decimal:
            return decimal_text(value)
        if remember and (cell.kind == TEXT_KIND or cell.kind == INTEGER_KIND):
            cell.object = <PyObject*>value
        if self.is_long[i] and value is not None:
            self.long_size += len(value)
        return value

    cdef int check_text(self, Cell* cell) except -1:
        """Leave the document to Python where a text must not be stored: its encoder knows what to say."""
        if cell.kind == TEXT_KIND:
            if memchr(cell.text, 0, <size_t>cell.size) != NULL:
                raise _ForPython
        elif cell.kind == OBJECT_KIND and type(<object>cell.object) is str:  # half of a surrogate pair
            raise _ForPython
        return 0

    cdef int make_room(self, size_t size) except -1:
        cdef size_t wanted = self.size + size
        cdef char* data
        if wanted <= self.room:
            return 0
        wanted = wanted * 2 if wanted > FIRST_ROOM else FIRST_ROOM
        data = <char*>realloc(self.data, wanted)
        if data == NULL:
            raise MemoryError
        self.data = data
        self.room = wanted
        return 0

    cdef int put_line(self, Cell* cells) except -1:
        cdef int i
        cdef Cell* cell
        for i in range(self.written_count):
            cell = &cells[self.written[i]]
            if i > 0:
                self.put_byte(c'\t')
            if cell.kind == TEXT_KIND:
                self.put_escaped(cell.text, cell.size, COPY_ESCAPES)
            elif cell.kind == NULL_KIND:
                self.put_plain(b"\\N", 2)
            elif cell.kind == INTEGER_KIND:
                self.put_number(cell.number, 0)
            elif cell.kind == DECIMAL_KIND:
                self.put_number(cell.number, cell.scale)
            elif cell.kind == BIT_KIND:
                self.put_byte(c'1' if cell.number else c'0')
            else:
                self.put_other(<object>cell.object)
        self.put_byte(c'\n')
        return 0

    cdef int put_array(self, Cell* cells) except -1:
        cdef int i
        cdef Cell* cell
        self.put_byte(c',' if self.size > 0 else c' ')  # the blank is left out in the end
        self.put_byte(c'[')
        for i in range(self.written_count):
            cell = &cells[self.written[i]]
            if i > 0:
                self.put_byte(c',')
            if self.checks_text:
                self.check_text(cell)
            if cell.kind == TEXT_KIND:
                self.put_byte(c'"')
                self.put_escaped(cell.text, cell.size, JSON_ESCAPES)
                self.put_byte(c'"')
            elif cell.kind == NULL_KIND:
                self.put_plain(b"null", 4)
            elif cell.kind == INTEGER_KIND:
                self.put_number(cell.number, 0)
            elif cell.kind == DECIMAL_KIND:
                self.put_byte(c'"')
                self.put_number(cell.number, cell.scale)
                self.put_byte(c'"')
            elif cell.kind == BIT_KIND:
                if cell.number:
                    self.put_plain(b"true", 4)
                else:
                    self.put_plain(b"false", 5)
            else:
                self.put_other(<object>cell.object)
        self.put_byte(c']')
        return 0

    cdef int put_pickled(self, Cell* cells) except -1:
        """The opcodes that Python's pickle.Pickler writes for a list's items, with protocol 3."""
        cdef int i
        cdef Cell* cell
        cdef char[LONGEST_DECIMAL] digits
        cdef int place
        for i in range(self.written_count):
            cell = &cells[self.written[i]]
            if (self.count * self.written_count + i) % PICKLED_AT_ONCE == 0:
                if self.size > 0:
                    self.put_byte(c'e')  # APPENDS
                self.put_byte(c'(')  # MARK
            if cell.kind == TEXT_KIND:
                self.put_pickled_text(cell.text, cell.size)
            elif cell.kind == NULL_KIND:
                self.put_byte(c'N')
            elif cell.kind == INTEGER_KIND:
                self.put_pickled_integer(cell.number)
            elif cell.kind == DECIMAL_KIND:
                place = write_decimal(digits, cell.number, cell.scale)
                self.put_pickled_text(&digits[place], LONGEST_DECIMAL - place)
            elif cell.kind == BIT_KIND:
                self.put_pickled_integer(1 if cell.number else 0)
            else:
                self.put_other(<object>cell.object)
        return 0

    cdef int put_pickled_text(self, const char* text, Py_ssize_t size) except -1:
        self.make_room(<size_t>size + 5)
        self.data[self.size] = c'X'  # BINUNICODE
        self.size += 1
        self.put_little_endian(<unsigned long long>size, 4)
        return self.put_plain(text, size)

    cdef int put_pickled_integer(self, long long number) except -1:
        cdef int size = 4
        if 0 <= number < 256:
            self.put_byte(c'K')  # BININT1
            size = 1
        elif 0 <= number < 65536:
            self.put_byte(c'M')  # BININT2
            size = 2
        elif -2147483648 <= number < 2147483648:
            self.put_byte(c'J')  # BININT
        else:
            size = 5
            while size < 8 and not -(1LL << (8 * size - 1)) <= number < (1LL << (8 * size - 1)):
                size += 1
            self.put_byte(<char>0x8A)  # LONG1
            self.put_byte(<char>size)
        return self.put_little_endian(<unsigned long long>number, size)

    cdef int put_little_endian(self, unsigned long long number, int size) except -1:
        for _ in range(size):
            self.put_byte(<char>(number & 0xFF))
            number >>= 8
        return 0

    cdef inline int put_byte(self, char byte) except -1:
        if self.size == self.room:
            self.make_room(1)
        self.data[self.size] = byte
        self.size += 1
        return 0

    cdef int put_plain(self, const char* text, Py_ssize_t size) except -1:
        self.make_room(<size_t>size)
        memcpy(self.data + self.size, text, <size_t>size)
        self.size += <size_t>size
        return 0

    cdef int put_escaped(self, const char* text, Py_ssize_t size, unsigned char* escapes) except -1:
        cdef Py_ssize_t some
        while size > 0:
            some = min(size, ESCAPED_AT_ONCE)
            self.make_room(<size_t>some * 6)  # \u001f
            self.escape(text, some, escapes)
            text += some
            size -= some
        return 0

    cdef void escape(self, const char* text, Py_ssize_t size, unsigned char* escapes) noexcept:
        """Put a text for which there is room."""
        cdef Py_ssize_t i
        cdef unsigned char byte, letter
        cdef char* out = self.data + self.size
        for i in range(size):
            byte = <unsigned char>text[i]
            letter = escapes[byte]
            if letter == 0:
                out[0] = <char>byte
                out += 1
                continue
            out[0] = c'\\'
            out[1] = <char>letter
            out += 2
            if letter == c'u':
                out[0] = c'0'
                out[1] = c'0'
                out[2] = c'1' if byte >= 16 else c'0'
                out[3] = HEX_DIGITS[byte & 15]
                out += 4
        self.size = <size_t>(out - self.data)

    cdef int put_number(self, long long number, int scale) except -1:
        cdef char[LONGEST_DECIMAL] digits
        cdef int place = write_decimal(digits, number, scale)
        return self.put_plain(&digits[place], LONGEST_DECIMAL - place)

    cdef int put_other(self, value) except -1:
        cdef bytes data
        try:
            text = self.other(value)
            data = text if type(text) is bytes else text.encode()
        except MemoryError:
            raise
        except Exception as error:
            raise EncoderFailed from error
        return self.put_plain(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    # ---- what came of them

    cdef list take_rows(self):
        """The tuples of the document; for the layout of all values."""
        rows = self.rows
        self.rows = []
        return rows

    cdef object piece(self):
        """The rows of the document as the target takes them."""
        if self.layout == COPY_LINES:
            return PyBytes_FromStringAndSize(self.data, <Py_ssize_t>self.size)
        if self.layout == JSON_ROWS:
            if self.size == 0:
                return ""
            return PyUnicode_DecodeUTF8(self.data + 1, <Py_ssize_t>self.size - 1, NULL)
        if self.layout == PICKLED_VALUES:
            if self.count * self.written_count == 1:  # APPEND, without a MARK
                self.put_byte(c'a')
                return PyBytes_FromStringAndSize(self.data + 1, <Py_ssize_t>self.size - 1)
            if self.size > 0:
                self.put_byte(c'e')
            return PyBytes_FromStringAndSize(self.data, <Py_ssize_t>self.size)
        if self.count == 0:
            return ()
        return self.take_rows()

    cdef Py_ssize_t piece_bytes(self, piece) except -1:
        """The encoder's estimate of what a piece takes in memory."""
        if self.layout == COPY_LINES or self.layout == PICKLED_VALUES:
            return PyBytes_GET_SIZE(piece) + PIECE_BYTES
        if self.layout == JSON_ROWS:
            return getsizeof(piece)
        return self.row_bytes * self.count + self.long_size


cdef tuple row_of(int width, Cell* cells, bint remember):
    """A row as a tuple of all its columns' values."""
    cdef int i
    cdef tuple row = PyTuple_New(width)
    for i in range(width):
        value = value_of(&cells[i])
        Py_INCREF(value)
        PyTuple_SET_ITEM(row, i, value)
        if remember:
            cells[i].object = <PyObject*>value
    # Canonical values hold nothing: the garbage collector need not look at a row ever.
    PyObject_GC_UnTrack(row)
    return row
