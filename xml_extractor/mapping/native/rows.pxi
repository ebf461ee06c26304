# Rows from frames, where nothing is wrong with any row below one parent row: mapping/row_code.py, natively.
#
# At anything else the rows below that parent row are made by the Python interpreter, the careful way.

cdef struct Kept:
    # A row below which there can be others.
    Cell* cells
    Frame* frame


cdef struct Item:
    int slot
    bint is_trouble
    Cell name


def read_by_where(table):
    """Return the columns that a table's condition reads, and those that they are made of."""
    reads = {}
    for index, column in enumerate(table.columns):
        expression = column.source.expression
        reads[index] = () if expression is None else expression_columns(expression)
    found = set()
    more = [] if table.where is None else list(expression_columns(table.where))
    while more:
        column = more.pop()
        if column not in found:
            found.add(column)
            more.extend(reads[column])
    return found


cdef class Table:
    """Makes the rows of one table."""

    cdef int index
    cdef int width
    cdef int scope
    cdef int parent
    cdef object rows  # the Python TableRows
    cdef tuple children
    cdef int step_count
    cdef int* step_slots  # the child scopes that lead from the parent's frame to the table's own
    cdef Builder builder
    cdef Column* columns  # in the order in which they can be computed, expressions last
    cdef int column_count
    cdef int shared_count
    cdef bint asks_shared  # whether Python computes values that all rows below one parent share
    cdef bint is_careful  # whether all rows have to be made the careful way
    cdef bint has_unique
    cdef int capture_count
    cdef int* captures
    cdef int item_count
    cdef bint has_items
    cdef Item* items
    cdef int counted_count
    cdef int* counted
    cdef bint drops_empty
    cdef int doubtful_count
    cdef int* doubtful
    cdef list expressions
    cdef Computed where
    cdef unsigned char* where_reads  # per column, whether the condition looks at it or at what is made of it
    cdef Cell* buffer  # a row of a table without children
    cdef Sink rows_sink  # takes the rows as tuples
    cdef Sink encoded_sink  # takes them as the target does; None: nobody asked for that
    cdef Sink sink  # the one in use

    def __init__(self, plan, rows, children, steps, environment):
        self.rows = rows
        self.index = rows.index
        table = rows.table
        self.width = len(table.columns)
        self.scope = table.scope
        self.parent = -1 if table.parent is None else table.parent
        self.children = children
        self.builder = Builder()
        self.step_count = len(steps)
        self.step_slots = self.numbers(steps)
        self.expressions = []
        self.is_careful = rows.is_careful
        self.has_unique = table.unique is not None
        self.capture_count = len(rows.captures)
        self.captures = self.numbers(sorted(rows.captures))
        self.doubtful_count = len(rows.doubtful)
        self.doubtful = self.numbers(rows.doubtful)
        self.drops_empty = rows.counted is not None
        counted = sorted(rows.counted or ())
        self.counted_count = len(counted)
        self.counted = self.numbers(counted)
        self.buffer = <Cell*>self.builder.reserve(sizeof(Cell) * <size_t>self.width)
        self.sink = self.rows_sink = Sink(self.width, None)
        self.add_columns(plan, rows, environment)
        self.add_items(rows)
        if table.where is not None:
            self.where = Computed(self.builder, table.where, rows.where_holds, environment)
        self.where_reads = <unsigned char*>self.builder.reserve(<size_t>self.width)
        for column in read_by_where(table):
            self.where_reads[<int>column] = 1

    cdef int* numbers(self, values) except NULL:
        cdef int i
        cdef int* out = <int*>self.builder.reserve(sizeof(int) * len(values))
        for i, value in enumerate(values):
            out[i] = value
        return out

    cdef int add_columns(self, plan, rows, environment) except -1:
        cdef Column* column
        compiled_columns = sorted(
            rows.columns, key=lambda c: (c.column.source.kind is SourceKind.EXPRESSION,)
        )
        self.column_count = len(compiled_columns)
        self.columns = <Column*>self.builder.reserve(sizeof(Column) * <size_t>self.column_count)
        for i, compiled in enumerate(compiled_columns):
            column = &self.columns[<int>i]
            self.add_column(column, compiled, rows, environment)
        return 0

    cdef int add_column(self, Column* column, compiled, rows, environment) except -1:
        described = compiled.column
        source = described.source
        conversion = described.conversion
        column.index = compiled.index
        absent = compiled.default if compiled.missing is None else compiled.missing
        self.builder.keep_constant(&column.absent, absent)
        self.builder.keep_constant(&column.default, compiled.default)
        if source.kind in SHARED:
            column.kind = IS_SHARED
            if source.kind is SourceKind.PARENT:
                column.place = source.parent_column
            elif source.kind is SourceKind.CONSTANT:
                column.place = CONSTANT_PLACE
                value = compiled.compute(None)
                self.builder.keep_constant(&column.absent, compiled.default if value is None else value)
            elif source.kind is SourceKind.KEY:
                column.place = KEY_PLACE
                self.builder.conversion(&column.conversion, conversion, strict_converter(conversion))
            else:
                column.place = PYTHON_PLACE
                self.asks_shared = True
            return 0
        if source.kind is SourceKind.EXPRESSION:
            column.kind = IS_EXPRESSION
            column.expression = len(self.expressions)
            expression = source.expression
            if conversion.protection is not None or conversion.empty_is_null:
                expression = None  # what is done to the value afterwards is Python's
            self.expressions.append(
                Computed(self.builder, expression, compiled.evaluate, environment, source.expression)
            )
            return 0
        self.builder.conversion(&column.conversion, conversion, lenient_converter(compiled))
        if source.kind in (SourceKind.POSITION, SourceKind.PARENT_POSITION):
            column.kind = IS_POSITION if source.kind is SourceKind.POSITION else IS_PARENT_POSITION
            column.is_number = (
                described.type.name in ("int", "bigint")
                and not conversion.apply
                and conversion.enum is None
                and conversion.protection is None
            )
            return 0
        if source.kind is SourceKind.ITEM_NAME:
            column.kind = IS_ITEM_NAME
        elif source.kind is SourceKind.ITEM_VALUE:
            column.kind = IS_ITEM_VALUE
        else:
            column.kind = IS_CAPTURE
            column.slot_count = len(source.captures)
            column.slots = self.numbers(source.captures)
        return 0

    cdef int add_items(self, rows) except -1:
        cdef int i
        self.has_items = bool(rows.items)
        values = item_values(rows.columns, rows.items) if rows.items else ()
        self.item_count = len(values)
        self.items = <Item*>self.builder.reserve(sizeof(Item) * len(values))
        for i, (name, slot) in enumerate(values):
            self.items[i].slot = slot
            self.items[i].is_trouble = name is TROUBLE
            self.builder.keep_constant(&self.items[i].name, name)
        return 0


cdef class Run:
    """What the rows of one document share while they are made."""

    cdef Walker walker
    cdef Arena* arena
    cdef object document
    cdef object root
    cdef object context  # the Python interpreter's, once somebody has asked for it
    cdef list tables
    cdef list current_rows  # per table, the row below which rows are being made, as far as Python has asked
    cdef Cell** ancestors  # per table, the same row's cells
    cdef unsigned char* is_current  # per table, whether `current_rows` holds that row
    cdef bint where_dropped
    cdef int table_count

    cdef object python_context(self):
        if self.context is None:
            self.context = DocumentContext(self.document, self.root, self.table_count)
            self.context.current_rows = self.current_rows
            self.context.expression_frame.ancestor_rows = self.current_rows
        self.fill_current_rows()
        return self.context

    cdef int fill_current_rows(self) except -1:
        """Make Python rows of those below which rows are being made."""
        cdef int i
        for i in range(self.table_count):
            if self.ancestors[i] != NULL and not self.is_current[i]:
                row = row_of((<Table>self.tables[i]).width, self.ancestors[i], True)
                self.walker.kept.append(row)
                self.current_rows[i] = row
                self.is_current[i] = 1
        return 0

    cdef int begin(self, document, root) except -1:
        self.document = document
        self.root = root
        self.context = None
        self.where_dropped = False
        memset(self.ancestors, 0, sizeof(Cell*) * <size_t>self.table_count)
        return 0

    cdef int enter(self, int table, Cell* cells) except -1:
        """Go below a row."""
        self.ancestors[table] = cells
        self.is_current[table] = 0
        return 0

    cdef int end(self) except -1:
        if self.context is not None:
            self.current_rows = [()] * self.table_count
        self.document = self.root = self.context = None
        return 0

    cdef PyObject* keep(self, value) except NULL:
        self.walker.kept.append(value)
        return <PyObject*>value


cdef int ask_python(Run run, Conversion* conversion, Text text, Cell* out) except -1:
    """Convert by the column's Python converter, which raises what is wrong."""
    value = PyObject_CallOneArg(<object>conversion.python, str_of(text))
    run.keep(value)
    return set_object(out, value)


cdef inline int convert_text(Run run, Conversion* conversion, Text text, Cell* out) except -1:
    if convert(run.arena, conversion, text, out) == DONE:
        return 0
    return ask_python(run, conversion, text, out)


cdef int compute_column(Run run, Table table, Column* column, Frame* frame, Item* item, Row* row) except -1:
    """Compute one column of a row."""
    cdef Text text
    cdef Cell* out = &row.cells[column.index]
    cdef int number
    out.object = NULL
    if column.kind == IS_CAPTURE or column.kind == IS_ITEM_VALUE:
        if column.kind == IS_CAPTURE:
            read_column(column, frame, &text)
        else:
            text = frame.texts[item.slot]
        if text.at == NULL:
            out[0] = column.absent
            return 0
        convert_text(run, &column.conversion, text, out)
        if out.kind == NULL_KIND:
            out[0] = column.default
        return 0
    if column.kind == IS_POSITION or column.kind == IS_PARENT_POSITION:
        number = frame.position if column.kind == IS_POSITION else frame.parent_position
        if number == 0:
            out[0] = column.absent
        elif column.is_number:
            set_number(out, INTEGER_KIND, number)
        else:
            digits = str(number)
            run.keep(digits)
            text.at = PyUnicode_AsUTF8AndSize(digits, &text.size)
            convert_text(run, &column.conversion, text, out)
            if out.kind == NULL_KIND:
                out[0] = column.default
        return 0
    if column.kind == IS_ITEM_NAME:
        if item.is_trouble:
            raise TakeCareError
        out[0] = item.name
        return 0
    (<Computed>table.expressions[column.expression]).compute(run, row, out)
    if out.kind == NULL_KIND:
        out[0] = column.default
    return 0


cdef int convert_key(Run run, Conversion* conversion, Cell* out) except -1:
    """Convert the source key, which is an integer or a text."""
    cdef Text text
    cdef int overflow = 0
    key = run.document.key
    if type(key) is int and conversion.how == AS_INTEGER and conversion.step_count == 0:
        out.number = PyLong_AsLongLongAndOverflow(key, &overflow)
        if not overflow and conversion.low <= out.number <= conversion.high:
            out.kind = INTEGER_KIND
            out.object = <PyObject*>key
            return 0
    written = str(key)
    run.keep(written)
    try:
        text.at = PyUnicode_AsUTF8AndSize(written, &text.size)
    except UnicodeEncodeError:  # half of a surrogate pair
        value = PyObject_CallOneArg(<object>conversion.python, written)
        run.keep(value)
        return set_object(out, value)
    return convert_text(run, conversion, text, out)


cdef int compute_columns(Run run, Table table, Frame* frame, Item* item, Row* row) except -1:
    """Compute the columns of a row in turn; return the place of one that is at fault, else their number."""
    cdef int k = 0
    try:
        while k < table.column_count:
            if table.columns[k].kind != IS_SHARED:
                compute_column(run, table, &table.columns[k], frame, item, row)
            k += 1
    except (ConversionError, EvaluationError):
        if table.where is None or table.where_reads[table.columns[k].index]:
            raise
    return k


cdef int check_dropped(Run run, Table table, Frame* frame, Item* item, Row* row, int fault) except -1:
    """See to it that ``where`` drops a row of which a column is at fault that it does not look at."""
    cdef int k
    cdef Cell verdict
    for k in range(fault + 1, table.column_count):
        if table.columns[k].kind != IS_SHARED and table.where_reads[table.columns[k].index]:
            compute_column(run, table, &table.columns[k], frame, item, row)
    table.where.compute(run, row, &verdict)
    if verdict.kind == BIT_KIND and verdict.number:
        raise TakeCareError
    run.where_dropped = True
    return 0


cdef int share(Run run, Table table, Cell* parent_cells, Cell* out) except -1:
    """Compute the values that all rows below one parent row have in common."""
    cdef int i
    cdef Column* column
    cdef Cell* cell
    if table.asks_shared:
        context = run.python_context()
        parent_row = run.current_rows[table.parent] if table.parent >= 0 else ()
        values = table.rows.shared_values(context, parent_row)
        run.keep(values)
        for compiled, value in zip(table.rows.shared, values):
            i = compiled.index
            set_object(&out[i], value)
        return 0
    for i in range(table.column_count):
        column = &table.columns[i]
        if column.kind != IS_SHARED:
            continue
        cell = &out[column.index]
        if column.place == CONSTANT_PLACE:
            cell[0] = column.absent
            continue
        if column.place == KEY_PLACE:
            convert_key(run, &column.conversion, cell)
        else:
            cell[0] = parent_cells[column.place]
        if cell.kind == NULL_KIND:
            cell[0] = column.default
    return 0


cdef bint is_wanted(Run run, Table table, Row* row) except -1:
    """Whether the table's own rules keep a row; raises where that is for the careful way to say."""
    cdef int i
    cdef Cell verdict
    if table.where is not None:
        table.where.compute(run, row, &verdict)
        if not (verdict.kind == BIT_KIND and verdict.number):
            run.where_dropped = True
            return False
    if table.drops_empty:
        for i in range(table.counted_count):
            if row.cells[table.counted[i]].kind != NULL_KIND:
                break
        else:
            run.where_dropped = True
            return False
    for i in range(table.doubtful_count):
        if row.cells[table.doubtful[i]].kind == NULL_KIND:
            raise TakeCareError
    return True


cdef int make_plainly(
    Run run, Table table, Frame** frames, int count, Cell* parent_cells, Kept** kept
) except -1:
    """Make all rows, or raise; return how many.  For a table with children, ``kept`` is filled with one Kept
    a row."""
    cdef Cell* shared = table.buffer
    cdef Cell* cells
    cdef Row row
    cdef Frame* frame
    cdef Item* item
    cdef int i, j, k
    cdef bint has_children = len(table.children) > 0
    cdef int room = 0
    cdef int made_count = 0
    cdef Kept* place = NULL
    cdef Sink sink = table.sink
    cdef list choice = [] if table.has_unique else None
    memset(shared, 0, sizeof(Cell) * <size_t>table.width)
    share(run, table, parent_cells, shared)
    row.ancestors = run.ancestors
    row.arena = run.arena
    row.kept = <PyObject*>run.walker.kept
    if has_children:
        room = count * (table.item_count if table.has_items else 1)
        place = <Kept*>allocate(run.arena, sizeof(Kept) * <size_t>(room + 1))
        if place == NULL:
            raise MemoryError
        kept[0] = place
    for i in range(count):
        frame = frames[i]
        if frame.several != NULL:
            for j in range(table.capture_count):
                if frame.several[table.captures[j]]:
                    raise TakeCareError
        for j in range(table.item_count if table.has_items else 1):
            item = NULL
            if table.has_items:
                item = &table.items[j]
                if frame.texts[item.slot].at == NULL or is_blank(frame.texts[item.slot]):
                    continue
            cells = shared
            if has_children:
                cells = <Cell*>allocate(run.arena, sizeof(Cell) * <size_t>table.width)
                if cells == NULL:
                    raise MemoryError
                memcpy(cells, shared, sizeof(Cell) * <size_t>table.width)
            row.cells = cells
            row.frame = frame
            k = compute_columns(run, table, frame, item, &row)
            if k < table.column_count:
                # A row that `where` drops may have something wrong with it.
                check_dropped(run, table, frame, item, &row, k)
                continue
            if not is_wanted(run, table, &row):
                continue
            if choice is None:
                sink.put(cells, has_children)
            else:
                row_ = row_of(table.width, cells, has_children)
                run.walker.kept.append(row_)
                choice.append(row_)
            if has_children:
                place[made_count].cells = cells
                place[made_count].frame = frame
            made_count += 1
    return made_count if choice is None else choose_unique(table, choice, kept)


cdef int choose_unique(Table table, list made, Kept** kept) except -1:
    """Keep one of the rows with equal values; return how many are left."""
    cdef int i
    cdef Kept* places = kept[0]
    pairs = table.rows.unique([(row, i) for i, row in enumerate(made)])
    for i, (row, number) in enumerate(pairs):
        table.sink.put_row(row, table.buffer)
        if len(table.children) > 0:  # in the order of the rows, so none is overwritten too early
            places[i] = places[<int>number]
    return len(pairs)


cdef int make_carefully(Run run, Table table, Frame** frames, int count, Kept** kept) except -1:
    """Have the Python interpreter make these rows; return how many they are."""
    cdef int i, j
    cdef Cell* cells
    cdef Kept* place
    context = run.python_context()
    parent_row = run.current_rows[table.parent] if table.parent >= 0 else ()
    python_frames = []
    for i in range(count):
        frame = run.walker.python_frame(table.scope, frames[i])
        frame.append(i)  # found again behind all that the Python interpreter looks at
        python_frames.append(frame)
    found = table.rows.make_carefully(python_frames, context, parent_row)
    run.walker.kept.append(found)
    if len(table.children) == 0:
        for row in found:
            table.sink.put_row(row, table.buffer)
        return len(found)
    place = <Kept*>allocate(run.arena, sizeof(Kept) * (len(found) + 1))
    if place == NULL:
        raise MemoryError
    kept[0] = place
    for i, (row, frame) in enumerate(found):
        cells = <Cell*>allocate(run.arena, sizeof(Cell) * <size_t>table.width)
        if cells == NULL:
            raise MemoryError
        for j in range(table.width):
            set_object(&cells[j], row[j])
        place[i].cells = cells
        place[i].frame = frames[<int>frame[-1]]
        table.sink.put_row(row, table.buffer)
    return len(found)
