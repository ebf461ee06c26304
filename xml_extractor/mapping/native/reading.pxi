# What the walk reads of single nodes: names, texts, attributes.

cdef enum:
    WALKED
    NO_MEMORY
    FOR_PYTHON  # the document holds what only the Python interpreter knows how to take
    RAISED  # an exception waits in the walker's `error`


cdef inline bint same_uri(const xmlNs* ns, Text uri) noexcept nogil:
    if ns == NULL or ns.href == NULL:
        return uri.at == NULL
    return (
        uri.at != NULL
        and strncmp(<const char*>ns.href, uri.at, <size_t>uri.size) == 0
        and (<const char*>ns.href)[uri.size] == 0
    )


cdef inline bint same_name(const char* name, Text wanted) noexcept nogil:
    return (
        name[0] == wanted.at[0]
        and strncmp(name, wanted.at, <size_t>wanted.size) == 0
        and name[wanted.size] == 0
    )


cdef inline bint same_folded_name(const char* name, Text wanted) noexcept nogil:
    """Compare an ASCII name with one that is in lower case."""
    cdef Py_ssize_t i
    cdef char c
    for i in range(wanted.size):
        c = name[i]
        if c'A' <= c <= c'Z':
            c += 32
        if c != wanted.at[i]:
            return False
    return name[wanted.size] == 0


cdef bint is_ascii_name(const char* name) noexcept nogil:
    cdef Py_ssize_t i = 0
    while name[i] != 0:
        if <unsigned char>name[i] >= 0x80:
            return False
        i += 1
    return True


cdef inline bint is_text_node(const xmlNode* node) noexcept nogil:
    return node.type == XML_TEXT_NODE or node.type == XML_CDATA_SECTION_NODE


cdef inline Text content_of(const xmlNode* node) noexcept nogil:
    cdef Text text
    text.at = <const char*>node.content
    if text.at == NULL:
        text.at = b""
    text.size = <Py_ssize_t>strlen(text.at)
    return text


cdef Py_ssize_t size_of_texts(const xmlNode* first, bint deep) noexcept nogil:
    """Bytes of all texts among these siblings; -1 where there is a node of another kind."""
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t inner
    cdef const xmlNode* node = first
    while node != NULL:
        if is_text_node(node):
            size += content_of(node).size
        elif node.type != XML_ELEMENT_NODE:
            return -1
        elif deep:
            inner = size_of_texts(node.children, True)
            if inner < 0:
                return -1
            size += inner
        node = node.next
    return size


cdef char* copy_texts(const xmlNode* first, char* place, bint deep) noexcept nogil:
    cdef Text text
    cdef const xmlNode* node = first
    while node != NULL:
        if is_text_node(node):
            text = content_of(node)
            memcpy(place, text.at, <size_t>text.size)
            place += text.size
        elif deep:
            place = copy_texts(node.children, place, True)
        node = node.next
    return place


cdef int join_texts(Arena* arena, const xmlNode* first, bint deep, Text* out) noexcept nogil:
    cdef Py_ssize_t size = size_of_texts(first, deep)
    if size < 0:
        return FOR_PYTHON
    cdef char* place = <char*>allocate(arena, <size_t>size)
    if place == NULL:
        return NO_MEMORY
    copy_texts(first, place, deep)
    out.at = place
    out.size = size
    return WALKED


cdef inline int string_value(Arena* arena, const xmlNode* element, Text* out) noexcept nogil:
    """All text inside an element."""
    cdef const xmlNode* child = element.children
    if child == NULL:
        out.at = b""
        out.size = 0
        return WALKED
    if child.next == NULL and is_text_node(child):
        out[0] = content_of(child)
        return WALKED
    return join_texts(arena, child, True, out)


cdef int own_text(Arena* arena, const xmlNode* element, Text* out) noexcept nogil:
    """An element's text without that of its children; none where it has no text node at all."""
    cdef const xmlNode* child = element.children
    cdef bint has_text = False
    while child != NULL:
        if is_text_node(child):
            has_text = True
        child = child.next
    if not has_text:
        out.at = NULL
        return WALKED if size_of_texts(element.children, False) >= 0 else FOR_PYTHON
    return join_texts(arena, element.children, False, out)


cdef int attribute_value(Arena* arena, const xmlAttr* attribute, Text* out) noexcept nogil:
    cdef const xmlNode* child = attribute.children
    if child == NULL:
        out.at = b""
        out.size = 0
        return WALKED
    if child.next == NULL and child.type == XML_TEXT_NODE:
        out[0] = content_of(child)
        return WALKED
    return FOR_PYTHON  # an entity within the value


cdef const xmlAttr* find_attribute(const xmlNode* element, Text name, Text uri) noexcept nogil:
    cdef const xmlAttr* attribute = element.properties
    while attribute != NULL:
        if same_name(<const char*>attribute.name, name) and same_uri(attribute.ns, uri):
            return attribute
        attribute = attribute.next
    return NULL
