# One document's way: the walk, the document's condition, the tables from the top down.

cdef enum:
    LARGE_DOCUMENT = 65536  # characters from which it pays to give up the interpreter's lock for the walk


cdef class NativeInterpreter:
    """Runs a compiled plan natively.  Not thread-safe: one per worker.

    Args:
        python: the Python interpreter of the same plan, for all that is not done here.

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

    def __init__(self, python):
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
        self.run_ = run

    def run(self, _Element root not None, document):
        """Map one parsed document, as the Python interpreter does."""
        cdef Run run = self.run_
        cdef Frame* frame
        cdef Table table
        cdef tuple rows
        tag = fold_name(root.tag) if self.plan.ignore_case else root.tag
        if tag not in self.roots:
            return self.python.run(root, document)
        content = document.content
        cdef bint is_large = content is not None and len(content) >= LARGE_DOCUMENT
        try:
            try:
                frame = self.walker.root_frame(root, is_large)
            except _ForPython:
                frame = NULL
            if frame == NULL:
                return self.python.run(root, document)
            run.document = document
            run.root = root
            run.context = None
            run.where_dropped = False
            if self.where is not None and not self.is_ours(run, frame):
                return self.python.run(root, document)
            rows = tuple([[] for _ in range(run.table_count)])
            for table in self.top:
                make_from(run, table, frame, NULL, rows)
            where_dropped = run.where_dropped
            truncated = 0
            if run.context is not None:
                where_dropped = where_dropped or run.context.where_dropped
                truncated = run.context.truncated
            if not where_dropped:
                for table in self.top:
                    if rows[table.index]:
                        break
                else:
                    raise self.python.no_rows()
            return MappedDocument(
                rows, truncated, () if self.unknown is None else self.unknown.find(root, is_large)
            )
        finally:
            run.document = run.root = run.context = None
            run.current_rows = [()] * run.table_count
            self.walker.let_go()

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


cdef int make_from(Run run, Table table, Frame* frame, Cell* parent_cells, tuple rows) except -1:
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
    return make_rows(run, table, found.items, found.count, parent_cells, rows)


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


cdef int make_rows(
    Run run, Table table, Frame** frames, int count, Cell* parent_cells, tuple rows
) except -1:
    cdef Kept* kept = NULL
    cdef list made = None
    cdef Table child
    cdef Py_ssize_t i
    cdef bint where_dropped = run.where_dropped
    if not table.is_careful:
        try:
            made = make_plainly(run, table, frames, count, parent_cells, &kept)
        except (TakeCareError, ConversionError, EvaluationError):
            run.where_dropped = where_dropped  # what is wrong, and whether it matters, is found out below
        else:
            if table.has_unique and len(made) > 1:
                made = choose_unique(table, made, &kept)
    if made is None:
        made = make_carefully(run, table, frames, count, &kept)
    if not made:
        return 0
    cdef list out = rows[table.index]
    out.extend(made)
    if not table.children:
        return 0
    for i in range(len(made)):
        # Set for each row: a child's own children have left their rows here.
        run.current_rows[table.index] = made[i]
        run.ancestors[table.index] = kept[i].cells
        for child in table.children:
            make_from(run, child, kept[i].frame, kept[i].cells, rows)
    return 0
