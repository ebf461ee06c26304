# The tries of a plan, and those steps of the walk that need Python.


cdef class Walker:
    """Fills the frames of one document after the other.  Not thread-safe.

    Frames and all they point to live until the next document.
    """

    cdef Keeper keeper
    cdef Arena arena
    cdef Walk walk
    cdef ScopePlan* scopes
    cdef int scope_count
    cdef list pythons  # per scope, the Python walker
    cdef bint uses_python
    cdef list kept  # Python values that cells and frames point to
    cdef _Document document
    cdef object error

    def __cinit__(self):
        if arena_open(&self.arena) < 0:
            raise MemoryError

    def __dealloc__(self):
        arena_close(&self.arena)

    def __init__(self, plan, pythons):
        cdef int i
        self.keeper = Keeper()
        self.pythons = pythons
        self.kept = []
        self.error = None
        self.walk.arena = &self.arena
        self.walk.ignore_case = plan.ignore_case
        self.walk.owner = <PyObject*>self
        self.scope_count = len(plan.scopes)
        self.scopes = <ScopePlan*>self.keeper.reserve(sizeof(ScopePlan) * <size_t>self.scope_count)
        for i in range(self.scope_count):
            self.add_scope(plan, i)

    # ---- building

    cdef int add_scope(self, plan, int index) except -1:
        cdef ScopePlan* scope = &self.scopes[index]
        cdef int i
        described = plan.scopes[index]
        python = self.pythons[index]
        scope.index = index
        scope.size = len(described.captures)
        children = list(python.child_slots)
        scope.below_count = len(children)
        scope.has_complex = bool(python.complex_captures or python.complex_scopes)
        scope.is_recursive = described.recurse is not None
        scope.recurses_by_xpath = python.recurse_xpath is not None
        if scope.has_complex or scope.recurses_by_xpath:
            self.uses_python = True
        root = _Trie()
        joins = []
        for slot, capture in enumerate(described.captures):
            if capture.pick is Pick.JOIN:
                joins.append((slot, capture.separator))
            if slot in python.complex_captures:
                continue
            if capture.path.is_complex:
                found = by_attribute(capture)
                root.descend((found.name,)).takes.append((slot, capture, found))
            else:
                if capture.path.leaf is Leaf.XML:
                    self.uses_python = True
                root.descend(capture.path.steps).takes.append((slot, capture, None))
        for i, child in enumerate(children):
            if child not in python.complex_scopes:
                root.descend(plan.scopes[child].path.steps).entries.append((child, i))
        if scope.is_recursive and not scope.recurses_by_xpath:
            if not described.recurse.steps:
                raise NotImplementedError("a scope within itself")
            root.descend(described.recurse.steps).remembers = True
        scope.join_count = len(joins)
        scope.joins = <Join*>self.keeper.reserve(sizeof(Join) * len(joins))
        for i, (slot, separator) in enumerate(joins):
            scope.joins[i].slot = slot
            scope.joins[i].separator = self.keeper.keep_text(separator)
        return self.add_node(&scope.root, root)

    cdef int add_node(self, Node* node, trie) except -1:
        cdef int i
        node.remembers = trie.remembers
        node.take_count = len(trie.takes)
        node.takes = <Take*>self.keeper.reserve(sizeof(Take) * len(trie.takes))
        for i, (slot, capture, found) in enumerate(trie.takes):
            self.set_take(&node.takes[i], slot, capture, found)
        node.entry_count = len(trie.entries)
        node.entries = <Entry*>self.keeper.reserve(sizeof(Entry) * len(trie.entries))
        for i, (child, place) in enumerate(trie.entries):
            node.entries[i].scope = &self.scopes[<int>child]
            node.entries[i].slot = place
        node.child_count = len(trie.children)
        node.children = <Node*>self.keeper.reserve(sizeof(Node) * len(trie.children))
        for i, (name, below) in enumerate(trie.children.items()):
            self.keeper.keep_name(name, &node.children[i].name, &node.children[i].uri)
            self.add_node(&node.children[i], below)
        return 0

    cdef int set_take(self, Take* take, int slot, capture, found) except -1:
        path = capture.path
        take.slot = slot
        take.skip_blank = capture.blank_is_absent
        pick = capture.pick if found is None else found.pick
        take.pick = {
            Pick.ONLY: PICK_ONLY, Pick.FIRST: PICK_FIRST, Pick.LAST: PICK_LAST, Pick.JOIN: PICK_JOIN,
        }[pick]
        if found is not None:
            take.leaf = TAKE_BY_ATTRIBUTE
            take.wanted = self.keeper.keep_text(found.wanted)
            return self.keeper.keep_name(found.attribute, &take.attribute, &take.uri)
        if path.leaf is Leaf.ATTRIBUTE:
            take.leaf = TAKE_ATTRIBUTE
            return self.keeper.keep_name(path.attribute, &take.attribute, &take.uri)
        take.leaf = {Leaf.TEXT: TAKE_TEXT, Leaf.OWN_TEXT: TAKE_OWN_TEXT, Leaf.XML: TAKE_XML}[path.leaf]
        return 0

    # ---- one document

    cdef Frame* root_frame(self, _Element root, bint without_lock) except? NULL:
        """Return the frame of the root element, with all frames below it.

        NULL where the document is for the Python interpreter.  ``without_lock``: give up the
        interpreter's lock meanwhile.
        """
        cdef Frames top
        cdef int status
        cdef xmlNode* element = root._c_node
        self.document = root._doc
        if self.document._c_doc.intSubset != NULL or self.document._c_doc.extSubset != NULL:
            return NULL  # a document type can add attributes that no element holds; the loader cuts it off
        memset(&top, 0, sizeof(Frames))
        try:
            if without_lock and not self.uses_python:
                with nogil:
                    status = self.start(&top, element)
            else:
                status = self.start(&top, element)
        finally:
            if self.uses_python:
                self.pythons[0].forget()
        if status == WALKED:
            return top.items[0]
        if status == FOR_PYTHON:
            return NULL
        if status == NO_MEMORY:
            raise MemoryError
        error, self.error = self.error, None
        raise error

    cdef int start(self, Frames* top, xmlNode* element) noexcept nogil:
        cdef Frame* frame = new_frame(&self.walk, &self.scopes[0], element, top)
        return NO_MEMORY if frame == NULL else fill(&self.walk, &self.scopes[0], frame)

    cdef int let_go(self) except -1:
        """Forget the document."""
        if self.kept:
            self.kept = []
        self.document = None
        arena_reset(&self.arena)
        return 0

    cdef int fill_by_xpath(self, ScopePlan* scope, Frame* frame) except -1:
        """Have the Python walker find what needs XPath, and take over what it has found."""
        cdef int slot
        cdef _Element found
        python = self.pythons[scope.index]
        element = elementFactory(self.document, frame.element)
        if python.complex_captures:
            scratch = python.template[:]
            for handle in python.complex_captures.values():
                handle(scratch, element)
            several = scratch[scope.size + SEVERAL_]
            for slot in python.complex_captures:
                text = scratch[slot]
                if text is None:
                    continue
                if isinstance(text, list):
                    text = self.separator_of(scope, slot).join(text)
                self.kept.append(text)
                frame.texts[slot].at = PyUnicode_AsUTF8AndSize(text, &frame.texts[slot].size)
            if several is not None:
                if frame.several == NULL:
                    frame.several = <unsigned char*>allocate_clear(&self.arena, <size_t>scope.size)
                    if frame.several == NULL:
                        raise MemoryError
                for slot in several:
                    frame.several[slot] = 1
        for child, find in python.complex_scopes.items():
            slot = list(python.child_slots).index(child)
            for found in find(element):
                self.check(enter(&self.walk, &self.scopes[<int>child], &frame.below[slot], found._c_node))
        return 0

    cdef str separator_of(self, ScopePlan* scope, int slot):
        cdef int i
        for i in range(scope.join_count):
            if scope.joins[i].slot == slot:
                return str_of(scope.joins[i].separator)
        return ""

    cdef int check(self, int status) except -1:
        """Raise for what a step of the walk says."""
        if status == WALKED:
            return 0
        if status == RAISED:
            error, self.error = self.error, None
            raise error
        if status == NO_MEMORY:
            raise MemoryError
        raise _ForPython

    cdef int nest_by_xpath(self, ScopePlan* scope, Frame* outer, Frames* siblings, set seen) except -1:
        """As ScopeWalker._enter_nested; ``seen`` keeps a path such as ``..`` from going round for ever."""
        cdef Frame* frame
        cdef _Element found
        find = self.pythons[scope.index].recurse_xpath
        nested = [e for e in find(elementFactory(self.document, outer.element)) if e not in seen]
        seen.update(nested)
        for found in nested:
            frame = new_frame(&self.walk, scope, found._c_node, siblings)
            if frame == NULL:
                raise MemoryError
            frame.parent_position = outer.position
            self.check(fill(&self.walk, scope, frame))
            self.nest_by_xpath(scope, frame, siblings, seen)
        return 0

    cdef list python_frame(self, int scope, Frame* frame):
        """The frame as the Python interpreter has it, but for the frames below."""
        cdef int slot
        cdef ScopePlan* plan = &self.scopes[scope]
        found = [
            None if frame.texts[slot].at == NULL else str_of(frame.texts[slot]) for slot in range(plan.size)
        ]
        several = None
        if frame.several != NULL:
            several = {slot for slot in range(plan.size) if frame.several[slot]}
        return found + [
            several, frame.position, frame.parent_position or None, None, *([None] * plan.below_count),
        ]


class _ForPython(Exception):
    """The document holds what only the Python interpreter knows how to take."""


class _Trie:
    """A trie node while the tries are being built."""

    def __init__(self):
        self.children = {}
        self.takes = []
        self.entries = []
        self.remembers = False

    def descend(self, steps):
        node = self
        for step in steps:
            node = node.children.setdefault(step, _Trie())
        return node


cdef int keep_error(Walker owner, error) noexcept:
    if isinstance(error, _ForPython):
        return FOR_PYTHON
    owner.error = error
    return RAISED


cdef int take_serialised(Walk* walk, xmlNode* element, Text* out) noexcept with gil:
    cdef Walker owner = <Walker>walk.owner
    try:
        text = serialised(elementFactory(owner.document, element))
        owner.kept.append(text)
        out.at = PyUnicode_AsUTF8AndSize(text, &out.size)
    except BaseException as error:
        return keep_error(owner, error)
    return WALKED


cdef int fill_complex(Walk* walk, ScopePlan* scope, Frame* frame) noexcept with gil:
    cdef Walker owner = <Walker>walk.owner
    try:
        owner.fill_by_xpath(scope, frame)
    except BaseException as error:
        return keep_error(owner, error)
    return WALKED


cdef int enter_nested_by_xpath(
    Walk* walk, ScopePlan* scope, Frame* outer, Frames* siblings
) noexcept with gil:
    cdef Walker owner = <Walker>walk.owner
    try:
        owner.nest_by_xpath(scope, outer, siblings, {elementFactory(owner.document, outer.element)})
    except BaseException as error:
        return keep_error(owner, error)
    return WALKED
