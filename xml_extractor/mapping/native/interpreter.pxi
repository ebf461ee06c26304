# One document's way: the walk, the document's condition, the tables from the top down.

cdef enum:
    LARGE_DOCUMENT = 65536  # characters from which it pays to give up the interpreter's lock for the walk


cdef class NativeInterpreter:
    """Runs a compiled plan natively.  Not thread-safe: one per worker.

    Args:
        python: the Python interpreter of the same plan, for all that is not done here.
        encoder: a LayoutEncoder, for :meth:`encode`.

    Raises:
        NotImplementedError: the plan holds what cannot be run natively.
    """

    cdef object python
    cdef object plan
    cdef Walker walker
    cdef list tables
    cdef list top
    cdef Run run_
    cdef frozenset roots
    cdef Computed where
    cdef frozenset where_captures
    cdef object unknown
    cdef Builder builder
    cdef object encoder
    cdef readonly bint encodes
    cdef bint is_large  # the document in hand

    def __init__(self, python, encoder=None):
        cdef Table table
        plan = python.plan
        self.python = python
        self.plan = plan
        self.walker = Walker(plan, python.walkers)
        self.roots = frozenset(plan.roots)
        self.unknown = None if python.unknown is None else UnknownFinder(python.unknown)
        self.builder = Builder()
        by_index = {}
        for node in reversed(python.nodes):  # parents come first, so children are ready before them
            children = tuple(by_index[child.index] for child in node.children)
            steps = [list(python.walkers[plan.scopes[s].parent].child_slots).index(s) for s in node.way]
            table = Table(plan, node.rows, children, steps, python.environment)
            by_index[node.index] = table
        self.tables = [by_index[index] for index in range(len(plan.tables))]
        self.top = []
        for table in self.tables:
            if table.parent < 0:
                self.top.append(table)
        self.where_captures = python.where_captures
        if plan.document_where is not None:
            self.where = Computed(self.builder, plan.document_where, python.where, python.environment)
        cdef Run run = Run()
        run.walker = self.walker
        run.arena = &self.walker.arena
        run.table_count = len(self.tables)
        run.current_rows = [()] * run.table_count
        run.ancestors = <Cell**>self.builder.reserve(sizeof(Cell*) * <size_t>run.table_count)
        run.tables = self.tables
        run.is_current = <unsigned char*>self.builder.reserve(<size_t>run.table_count)
        self.run_ = run
        self.encoder = encoder
        self.encodes = encoder is not None
        if encoder is not None:
            for table, layout in zip(self.tables, encoder.layouts):
                # Rows whose layout is not known here are made as tuples, and are the encoder's then.
                table.encoded_sink = Sink(table.width, layout)

    def run(self, _Element root not None, document):
        """Map one parsed document, as the Python interpreter does."""
        cdef Table table
        for table in self.tables:
            table.sink = table.rows_sink
        try:
            if not self.make_all(root, document):
                return self.python.run(root, document)
            return MappedDocument(
                tuple([table.rows_sink.take_rows() for table in self.tables]),
                self.truncated(),
                () if self.unknown is None else self.unknown.find(root, self.is_large),
            )
        except _ForPython:
            return self.python.run(root, document)
        finally:
            self.let_go()

    def encode(self, _Element root not None, document):
        """Map one parsed document straight to what the target takes; to its rows where Python has to map it."""
        cdef Table table
        for table in self.tables:
            table.sink = table.encoded_sink
        try:
            if not self.make_all(root, document):
                return self.python.run(root, document)
            pieces, counts, size = self.laid_out()
            return EncodedDocument(
                pieces, counts, size,
                self.truncated(), () if self.unknown is None else self.unknown.find(root, self.is_large),
            )
        except _ForPython:
            return self.python.run(root, document)
        finally:
            self.let_go()

    cdef tuple laid_out(self):
        """What the sinks hold, as the target takes it: the pieces, how many rows each has, and their size."""
        cdef Sink sink
        cdef int i
        cdef Py_ssize_t size = 0
        pieces = []
        counts = []
        try:
            for i in range(self.run_.table_count):
                sink = (<Table>self.tables[i]).encoded_sink
                if sink.layout == ALL_VALUES:
                    piece, piece_bytes = self.encoder.encode_table(i, sink.take_rows())
                    size += piece_bytes
                else:
                    piece = sink.piece()
                    size += sink.piece_bytes(piece)
                pieces.append(piece)
                counts.append(sink.count)
        except MemoryError:
            raise
        except Exception as error:
            raise EncoderFailed from error
        return tuple(pieces), tuple(counts), size

    cdef int let_go(self) except -1:
        """Keep nothing of a document, whatever came of it: it may be large, and the next one far off."""
        cdef Table table
        self.run_.end()
        self.walker.let_go()
        for table in self.tables:
            table.sink.reset()
        return 0

    cdef int truncated(self) except -1:
        return 0 if self.run_.context is None else self.run_.context.truncated

    cdef bint make_all(self, _Element root, document) except -1:
        """Have the tables' sinks take the rows of a document; false: it is for Python to map."""
        cdef Run run = self.run_
        cdef Frame* frame
        cdef Table table
        tag = fold_name(root.tag) if self.plan.ignore_case else root.tag
        if tag not in self.roots:
            return False
        content = document.content
        self.is_large = content is not None and len(content) >= LARGE_DOCUMENT
        frame = self.walker.root_frame(root, self.is_large)
        if frame == NULL:
            return False
        run.begin(document, root)
        if self.where is not None and not self.is_ours(run, frame):
            return False
        for table in self.top:
            make_from(run, table, frame, NULL)
        if not (run.where_dropped or (run.context is not None and run.context.where_dropped)):
            for table in self.top:
                if table.sink.count:
                    break
            else:
                raise self.python.no_rows()
        return True

    cdef bint is_ours(self, Run run, Frame* frame) except -1:
        """Whether the document's condition is true; where that is not plain, the answer is no."""
        cdef Row row
        cdef Cell verdict
        cdef int slot
        if frame.several != NULL:
            for slot in self.where_captures:
                if frame.several[slot]:
                    return False
        row.cells = NULL
        row.frame = frame
        row.ancestors = run.ancestors
        row.arena = run.arena
        row.kept = <PyObject*>self.walker.kept
        try:
            self.where.compute(run, &row, &verdict)
        except EvaluationError:
            return False
        if verdict.kind == BIT_KIND and verdict.number:
            return True
        raise self.python.not_ours()


cdef int make_from(Run run, Table table, Frame* frame, Cell* parent_cells) except -1:
    """Make the rows of a table that lie below one frame, and those of its children."""
    cdef Frames found
    cdef Frame* alone = frame
    cdef int i
    if table.step_count == 0:
        found.items = &alone
        found.count = 1
    else:
        found = frame.below[table.step_slots[0]]
        for i in range(1, table.step_count):
            found = below_all(run, found, table.step_slots[i])
    if found.count == 0:
        return 0
    return make_rows(run, table, found.items, found.count, parent_cells)


cdef Frames below_all(Run run, Frames outer, int slot) except *:
    """The frames of a child scope below all of some frames, in document order."""
    cdef Frames found
    cdef int i
    found.count = 0
    for i in range(outer.count):
        found.count += outer.items[i].below[slot].count
    found.room = found.count
    found.items = <Frame**>allocate(run.arena, sizeof(Frame*) * <size_t>(found.count + 1))
    if found.items == NULL:
        raise MemoryError
    found.count = 0
    for i in range(outer.count):
        if outer.items[i].below[slot].count:
            memcpy(
                &found.items[found.count], outer.items[i].below[slot].items,
                sizeof(Frame*) * <size_t>outer.items[i].below[slot].count,
            )
            found.count += outer.items[i].below[slot].count
    return found


cdef int make_rows(Run run, Table table, Frame** frames, int count, Cell* parent_cells) except -1:
    cdef Kept* kept = NULL
    cdef int made = -1
    cdef Table child
    cdef int i
    cdef bint where_dropped = run.where_dropped
    cdef Mark mark = table.sink.mark()
    if not table.is_careful:
        try:
            made = make_plainly(run, table, frames, count, parent_cells, &kept)
        except (TakeCareError, ConversionError, EvaluationError):
            # What is wrong, and whether it matters, is found out below.
            run.where_dropped = where_dropped
            table.sink.back_to(mark)
    if made < 0:
        made = make_carefully(run, table, frames, count, &kept)
    if not table.children:
        return 0
    for i in range(made):
        # Set for each row: a child's own children have left their rows here.
        run.enter(table.index, kept[i].cells)
        for child in table.children:
            make_from(run, child, kept[i].frame, kept[i].cells)
    return 0
