# Elements that a contract says nothing about: mapping/unknown_elements.py, over libxml2's own nodes.


cdef struct KnownChild:
    Text name
    Text uri
    Known* below


cdef struct Known:
    # An element name that the contract knows.  The names of recursive elements lead back to an outer one.
    bint is_whole
    int child_count
    KnownChild* children
    int latest  # the child that was found last


cdef struct PathStep:
    # A step of the way from the root to the element at hand, on the stack of the walk.
    const PathStep* outer
    Text name


cdef class UnknownFinder:
    """Finds what :class:`UnknownElements` finds.  Not thread-safe: one per worker."""

    cdef object python
    cdef Keeper keeper
    cdef dict made  # the Python nodes that have a struct, by identity
    cdef Known* root
    cdef bint ignore_case
    cdef int anywhere_count
    cdef Text* anywhere
    cdef int most
    cdef int longest_name
    cdef Arena arena
    cdef Text* found
    cdef int found_count

    def __cinit__(self):
        if arena_open(&self.arena) < 0:
            raise MemoryError

    def __dealloc__(self):
        arena_close(&self.arena)

    def __init__(self, python):
        cdef int i
        self.python = python
        self.keeper = Keeper()
        self.ignore_case = python.ignore_case
        self.most = MAX_REPORTED
        self.longest_name = MAX_NAME_LENGTH
        self.found = <Text*>self.keeper.reserve(sizeof(Text) * <size_t>self.most)
        self.anywhere_count = len(python.anywhere)
        self.anywhere = <Text*>self.keeper.reserve(sizeof(Text) * <size_t>self.anywhere_count)
        for i, name in enumerate(sorted(python.anywhere)):
            self.anywhere[i] = self.keeper.keep_text(name)
        self.made = {}
        self.root = self.known(python.root)
        self.made = None

    cdef Known* known(self, python) except NULL:
        """Return the struct of a Python node, made once."""
        cdef Known* known
        cdef int i
        place = self.made.get(id(python))
        if place is not None:
            return <Known*><size_t>place
        known = <Known*>self.keeper.reserve(sizeof(Known))
        self.made[id(python)] = <size_t>known
        known.is_whole = python.is_whole
        known.child_count = len(python.children)
        known.children = <KnownChild*>self.keeper.reserve(sizeof(KnownChild) * <size_t>known.child_count)
        for i, (clark, below) in enumerate(python.children.items()):
            self.keeper.keep_name(clark, &known.children[i].name, &known.children[i].uri)
            known.children[i].below = self.known(below)
        return known

    def find(self, _Element root not None, bint without_lock=False):
        """Return the paths of unknown elements, as the Python one does.

        Args:
            root: the document's root element.
            without_lock: whether to give up the interpreter's lock meanwhile.
        """
        cdef PathStep start
        cdef int status
        cdef int i
        cdef xmlNode* element = root._c_node
        start.outer = NULL
        start.name.at = <const char*>element.name
        start.name.size = <Py_ssize_t>strlen(start.name.at)
        self.found_count = 0
        try:
            if without_lock:
                with nogil:
                    status = self.search(element, self.root, &start)
            else:
                status = self.search(element, self.root, &start)
            if status == FOR_PYTHON:
                return self.python.find(root)
            if status == NO_MEMORY:
                raise MemoryError
            return tuple([str_of(self.found[i]) for i in range(self.found_count)])
        finally:
            arena_reset(&self.arena)

    cdef int search(self, xmlNode* element, Known* known, const PathStep* way) noexcept nogil:
        cdef PathStep step
        cdef Known* below
        cdef const char* name
        cdef int status
        cdef xmlNode* child = element.children
        if known.is_whole:
            return WALKED
        step.outer = way
        while child != NULL:
            if child.type != XML_ELEMENT_NODE:
                if not is_text_node(child):
                    return FOR_PYTHON
                child = child.next
                continue
            if self.found_count >= self.most:
                return WALKED
            name = <const char*>child.name
            if self.ignore_case and not is_ascii_name(name):
                return FOR_PYTHON
            step.name.at = name
            below = known_below(known, child, self.ignore_case)
            if below == NULL:
                if not is_ascii_name(name):
                    return FOR_PYTHON
                status = WALKED if self.is_anywhere(name) else self.report(&step)
            else:
                status = self.search(child, below, &step)
            if status != WALKED:
                return status
            child = child.next
        return WALKED

    cdef bint is_anywhere(self, const char* name) noexcept nogil:
        """Whether a complex path names such an element, in any case."""
        cdef int i
        for i in range(self.anywhere_count):
            if same_folded_name(name, self.anywhere[i]):
                return True
        return False

    cdef int report(self, PathStep* last) noexcept nogil:
        """Remember the path that ends with a step, once."""
        cdef Text path
        cdef const PathStep* step = last
        cdef char* place
        cdef int i
        path.size = 0
        while step != NULL:
            path.size += self.shortened(step).size + (step.outer != NULL)
            step = step.outer
        place = <char*>allocate(&self.arena, <size_t>path.size)
        if place == NULL:
            return NO_MEMORY
        path.at = place
        place += path.size
        step = last
        while step != NULL:
            place -= self.shortened(step).size
            memcpy(place, step.name.at, <size_t>self.shortened(step).size)
            if step.outer != NULL:
                place -= 1
                place[0] = c'/'
            step = step.outer
        for i in range(self.found_count):
            if same_text(self.found[i], path):
                return WALKED
        self.found[self.found_count] = path
        self.found_count += 1
        return WALKED

    cdef Text shortened(self, const PathStep* step) noexcept nogil:
        """A step's name as the path gives it: that of the root whole, others to their first characters."""
        cdef Text name
        if step.outer == NULL:
            return step.name
        name.at = step.name.at
        name.size = <Py_ssize_t>strlen(name.at)
        name.size = bytes_of(name, self.longest_name)
        return name


cdef Known* known_below(Known* known, const xmlNode* element, bint ignore_case) noexcept nogil:
    cdef int i, place
    cdef KnownChild* child
    for i in range(known.child_count):
        place = known.latest + i
        if place >= known.child_count:
            place -= known.child_count
        child = &known.children[place]
        if ignore_case:
            if not same_folded_name(<const char*>element.name, child.name):
                continue
        elif not same_name(<const char*>element.name, child.name):
            continue
        if same_uri(element.ns, child.uri):
            known.latest = place
            return child.below
    return NULL
