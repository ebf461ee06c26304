# The walk over a parsed document that gathers every raw text the plan wants, over libxml2's own nodes.
#
# It does what mapping/captures.py does, and the words are the same.  Names are compared as C strings, a
# text is a pointer into the tree wherever the tree holds it in one piece, and no Python object is made.
# Paths that need XPath are left to the Python walker of the same scope.  The walk reads the tree only:
# nobody else may change it meanwhile.

cdef enum Leaf_:
    TAKE_TEXT
    TAKE_OWN_TEXT
    TAKE_XML
    TAKE_ATTRIBUTE
    TAKE_BY_ATTRIBUTE  # the text, where an attribute has the wanted value

cdef enum Pick_:
    PICK_ONLY
    PICK_FIRST
    PICK_LAST
    PICK_JOIN


cdef struct Take:
    Leaf_ leaf
    Pick_ pick
    int slot
    bint skip_blank
    Text attribute
    Text uri  # of the attribute; at == NULL where it has none
    Text wanted


cdef struct Join:
    int slot
    Text separator


cdef struct Entry:
    ScopePlan* scope
    int slot


cdef struct Node:
    Text name
    Text uri
    bint remembers  # an element found by `recurse`
    int take_count
    Take* takes
    int entry_count
    Entry* entries
    int child_count
    Node* children
    int latest  # the child that was found last: siblings mostly come in the order in which they did before


cdef struct ScopePlan:
    int index
    int size  # captures
    int below_count
    bint is_recursive
    bint has_complex
    bint recurses_by_xpath
    int join_count
    Join* joins
    Node root


cdef struct Frames:
    Frame** items
    int count
    int room


cdef struct Piece:
    Text text
    Piece* next


cdef struct Frame:
    xmlNode* element
    Text* texts
    Frames* below
    unsigned char* several  # NULL, or for each capture whether it found several nodes
    Piece** pieces  # NULL, or for each capture that is joined the first and the last piece
    xmlNode** nested
    int nested_count
    int nested_room
    int position
    int parent_position  # 0: none


cdef struct Walk:
    Arena* arena
    bint ignore_case
    PyObject* owner  # the Walker, for what needs Python


# ------------------------------------------------------------------------------------------ taking


cdef int store(Walk* walk, ScopePlan* scope, Frame* frame, Take* take, Text text) noexcept nogil:
    """Take one more node's text into the frame, as ``pick`` says."""
    cdef Text* place = &frame.texts[take.slot]
    cdef Piece* piece
    if take.pick == PICK_ONLY:
        if place.at == NULL:
            place[0] = text
            return WALKED
        if frame.several == NULL:
            frame.several = <unsigned char*>allocate_clear(walk.arena, <size_t>scope.size)
            if frame.several == NULL:
                return NO_MEMORY
        frame.several[take.slot] = 1
        return WALKED
    if take.skip_blank and is_blank(text):
        return WALKED
    if take.pick == PICK_FIRST:
        if place.at == NULL:
            place[0] = text
        return WALKED
    if take.pick == PICK_LAST:
        place[0] = text
        return WALKED
    if frame.pieces == NULL:
        frame.pieces = <Piece**>allocate_clear(walk.arena, 2 * sizeof(Piece*) * <size_t>scope.size)
    piece = <Piece*>allocate(walk.arena, sizeof(Piece))
    if frame.pieces == NULL or piece == NULL:
        return NO_MEMORY
    piece.text = text
    piece.next = NULL
    if frame.pieces[2 * take.slot] == NULL:
        frame.pieces[2 * take.slot] = piece
    else:
        frame.pieces[2 * take.slot + 1].next = piece
    frame.pieces[2 * take.slot + 1] = piece
    return WALKED


cdef int take_any_case(Walk* walk, ScopePlan* scope, Frame* frame, Take* take, xmlNode* element) noexcept nogil:
    cdef const xmlAttr* attribute = element.properties
    cdef Text text
    cdef int status
    while attribute != NULL:
        if not is_ascii_name(<const char*>attribute.name):
            return FOR_PYTHON
        if same_folded_name(<const char*>attribute.name, take.attribute) and same_uri(
            attribute.ns, take.uri
        ):
            status = attribute_value(walk.arena, attribute, &text)
            if status == WALKED:
                status = store(walk, scope, frame, take, text)
            if status != WALKED:
                return status
        attribute = attribute.next
    return WALKED


cdef int take_from(Walk* walk, ScopePlan* scope, Frame* frame, Node* node, xmlNode* element) noexcept nogil:
    """Take what is wanted of one element."""
    cdef Take* take
    cdef const xmlAttr* attribute
    cdef Text text
    cdef int i
    cdef int status
    for i in range(node.take_count):
        take = &node.takes[i]
        if take.leaf == TAKE_ATTRIBUTE:
            if walk.ignore_case:
                status = take_any_case(walk, scope, frame, take, element)
                if status != WALKED:
                    return status
                continue
            attribute = find_attribute(element, take.attribute, take.uri)
            if attribute == NULL:
                continue
            status = attribute_value(walk.arena, attribute, &text)
        elif take.leaf == TAKE_TEXT:
            status = string_value(walk.arena, element, &text)
        elif take.leaf == TAKE_OWN_TEXT:
            status = own_text(walk.arena, element, &text)
            if status == WALKED and text.at == NULL:
                continue
        elif take.leaf == TAKE_XML:
            status = take_serialised(walk, element, &text)
        else:
            attribute = find_attribute(element, take.attribute, take.uri)
            if attribute == NULL:
                continue
            status = attribute_value(walk.arena, attribute, &text)
            if status == WALKED:
                if not same_text(text, take.wanted):
                    continue
                status = string_value(walk.arena, element, &text)
        if status == WALKED:
            status = store(walk, scope, frame, take, text)
        if status != WALKED:
            return status
    return WALKED


cdef int remember(Walk* walk, Frame* frame, xmlNode* element) noexcept nogil:
    cdef xmlNode** larger
    if frame.nested_count == frame.nested_room:
        frame.nested_room = 2 * frame.nested_room + 8
        larger = <xmlNode**>allocate(walk.arena, sizeof(xmlNode*) * <size_t>frame.nested_room)
        if larger == NULL:
            return NO_MEMORY
        if frame.nested_count:
            memcpy(larger, frame.nested, sizeof(xmlNode*) * <size_t>frame.nested_count)
        frame.nested = larger
    frame.nested[frame.nested_count] = element
    frame.nested_count += 1
    return WALKED


cdef Frame* new_frame(Walk* walk, ScopePlan* scope, xmlNode* element, Frames* siblings) noexcept nogil:
    """Make an empty frame and put it behind its siblings; NULL where there is no memory."""
    cdef size_t texts = sizeof(Text) * <size_t>scope.size
    cdef size_t below = sizeof(Frames) * <size_t>scope.below_count
    cdef char* memory = <char*>allocate_clear(walk.arena, sizeof(Frame) + texts + below)
    cdef Frame* frame = <Frame*>memory
    cdef Frame** larger
    if frame == NULL:
        return NULL
    frame.element = element
    frame.texts = <Text*>(memory + sizeof(Frame))
    frame.below = <Frames*>(memory + sizeof(Frame) + texts)
    if siblings.count == siblings.room:
        siblings.room = 2 * siblings.room + 4
        larger = <Frame**>allocate(walk.arena, sizeof(Frame*) * <size_t>siblings.room)
        if larger == NULL:
            return NULL
        if siblings.count:
            memcpy(larger, siblings.items, sizeof(Frame*) * <size_t>siblings.count)
        siblings.items = larger
    siblings.items[siblings.count] = frame
    siblings.count += 1
    frame.position = siblings.count
    return frame


# ------------------------------------------------------------------------------------------ walking


cdef inline bint leads_to(const Node* child, const xmlNode* element, bint ignore_case) noexcept nogil:
    if ignore_case:
        if not same_folded_name(<const char*>element.name, child.name):
            return False
    elif not same_name(<const char*>element.name, child.name):
        return False
    return same_uri(element.ns, child.uri)


cdef int walk_children(
    Walk* walk, ScopePlan* scope, Frame* frame, Node* node, xmlNode* element
) noexcept nogil:
    """Look at an element's children for what the trie wants below a node."""
    cdef xmlNode* child = element.children
    cdef Node* found
    cdef int i
    cdef int status
    while child != NULL:
        if child.type != XML_ELEMENT_NODE:
            if not is_text_node(child):
                return FOR_PYTHON
            child = child.next
            continue
        if walk.ignore_case and not is_ascii_name(<const char*>child.name):
            return FOR_PYTHON
        found = NULL
        for i in range(node.latest, node.child_count):
            if leads_to(&node.children[i], child, walk.ignore_case):
                found = &node.children[i]
                node.latest = i
                break
        else:
            for i in range(node.latest):
                if leads_to(&node.children[i], child, walk.ignore_case):
                    found = &node.children[i]
                    node.latest = i
                    break
        if found != NULL:
            status = visit(walk, scope, frame, found, child)
            if status != WALKED:
                return status
        child = child.next
    return WALKED


cdef int visit(Walk* walk, ScopePlan* scope, Frame* frame, Node* node, xmlNode* element) noexcept nogil:
    """Do what a trie node wants of an element."""
    cdef int i
    cdef int status = WALKED
    if node.take_count:
        status = take_from(walk, scope, frame, node, element)
    for i in range(node.entry_count):
        if status == WALKED:
            status = enter(walk, node.entries[i].scope, &frame.below[node.entries[i].slot], element)
    if status == WALKED and node.child_count:
        status = walk_children(walk, scope, frame, node, element)
    if status == WALKED and node.remembers:
        status = remember(walk, frame, element)
    return status


cdef int enter(Walk* walk, ScopePlan* scope, Frames* siblings, xmlNode* element) noexcept nogil:
    """Make and fill the frame of an element that a scope's path has found."""
    cdef Frame* frame = new_frame(walk, scope, element, siblings)
    if frame == NULL:
        return NO_MEMORY
    cdef int status = fill(walk, scope, frame)
    if status == WALKED and scope.is_recursive:
        if scope.recurses_by_xpath:
            return enter_nested_by_xpath(walk, scope, frame, siblings)
        return enter_nested(walk, scope, frame, siblings)
    return status


cdef int enter_nested(Walk* walk, ScopePlan* scope, Frame* outer, Frames* siblings) noexcept nogil:
    """Make the frames of the elements that ``recurse`` finds below one, in document order."""
    cdef Frame* frame
    cdef int i
    cdef int status
    for i in range(outer.nested_count):
        frame = new_frame(walk, scope, outer.nested[i], siblings)
        if frame == NULL:
            return NO_MEMORY
        frame.parent_position = outer.position
        status = fill(walk, scope, frame)
        if status == WALKED:
            status = enter_nested(walk, scope, frame, siblings)
        if status != WALKED:
            return status
    return WALKED


cdef int fill(Walk* walk, ScopePlan* scope, Frame* frame) noexcept nogil:
    cdef int status = visit(walk, scope, frame, &scope.root, frame.element)
    cdef int i
    if status == WALKED and scope.has_complex:
        status = fill_complex(walk, scope, frame)
    for i in range(scope.join_count):
        if status == WALKED:
            status = join_pieces(walk, frame, &scope.joins[i])
    return status


cdef int join_pieces(Walk* walk, Frame* frame, Join* join) noexcept nogil:
    if frame.pieces == NULL or frame.pieces[2 * join.slot] == NULL:
        return WALKED
    cdef Piece* first = frame.pieces[2 * join.slot]
    cdef Piece* piece = first
    cdef Py_ssize_t size = 0
    while piece != NULL:
        size += piece.text.size + (join.separator.size if piece.next != NULL else 0)
        piece = piece.next
    cdef char* place = <char*>allocate(walk.arena, <size_t>size)
    if place == NULL:
        return NO_MEMORY
    frame.texts[join.slot].at = place
    frame.texts[join.slot].size = size
    piece = first
    while piece != NULL:
        memcpy(place, piece.text.at, <size_t>piece.text.size)
        place += piece.text.size
        if piece.next != NULL:
            memcpy(place, join.separator.at, <size_t>join.separator.size)
            place += join.separator.size
        piece = piece.next
    return WALKED
