# Memory that lives as long as one document, and the two shapes in which values travel.


cdef struct Chunk:
    Chunk* next
    size_t size


cdef struct Arena:
    Chunk* first  # kept from one document to the next
    char* free
    char* end


cdef extern from *:
    """
    #if defined(EACH_ALONE) || defined(__SANITIZE_ADDRESS__)
    #define IS_EACH_ALONE 1
    #else
    #define IS_EACH_ALONE 0
    #endif
    """
    # Compiled so, each piece of memory is a chunk of its own, so that memory checkers see its ends.
    const bint IS_EACH_ALONE


cdef enum:
    FIRST_CHUNK = 131072


cdef struct Text:
    const char* at  # UTF-8, not terminated; NULL where there is no text
    Py_ssize_t size


cdef enum Kind:
    NULL_KIND
    TEXT_KIND  # text, size
    INTEGER_KIND  # number
    BIT_KIND  # number
    DECIMAL_KIND  # number, in units of the last of `scale` digits
    OBJECT_KIND  # object


cdef struct Cell:
    # A value of a row.  `object` is the Python value, once somebody has made it: borrowed from the row's
    # tuple or from what the document's run keeps.
    Kind kind
    int scale
    const char* text
    Py_ssize_t size
    long long number
    PyObject* object


cdef Chunk* new_chunk(size_t size) noexcept nogil:
    cdef Chunk* chunk = <Chunk*>malloc(sizeof(Chunk) + size)
    if chunk != NULL:
        chunk.next = NULL
        chunk.size = size
    return chunk


cdef int arena_open(Arena* arena) noexcept nogil:
    """Make an arena ready; -1 where there is no memory."""
    arena.first = new_chunk(FIRST_CHUNK)
    if arena.first == NULL:
        return -1
    arena_reset(arena)
    return 0


cdef void arena_reset(Arena* arena) noexcept nogil:
    """Forget all that was allocated; the first chunk stays."""
    cdef Chunk* chunk = arena.first.next
    cdef Chunk* next_chunk
    while chunk != NULL:
        next_chunk = chunk.next
        free(chunk)
        chunk = next_chunk
    arena.first.next = NULL
    arena.free = <char*>(arena.first + 1)
    arena.end = arena.free + arena.first.size


cdef void arena_close(Arena* arena) noexcept nogil:
    if arena.first != NULL:
        arena_reset(arena)
        free(arena.first)
        arena.first = NULL


cdef void* allocate_more(Arena* arena, size_t size) noexcept nogil:
    cdef size_t room = FIRST_CHUNK if size < FIRST_CHUNK / 4 and not IS_EACH_ALONE else size
    cdef Chunk* chunk = new_chunk(room)
    if chunk == NULL:
        return NULL
    chunk.next = arena.first.next
    arena.first.next = chunk
    cdef char* found = <char*>(chunk + 1)
    if room == size:
        return found  # a chunk of its own: go on filling the one before
    arena.free = found + size
    arena.end = found + room
    return found


cdef inline void* allocate(Arena* arena, size_t size) noexcept nogil:
    """Return memory aligned for any struct here; NULL where there is none."""
    cdef char* found = arena.free
    if IS_EACH_ALONE:
        return allocate_more(arena, size)
    size = (size + 7) & ~<size_t>7
    if <size_t>(arena.end - found) < size:
        return allocate_more(arena, size)
    arena.free = found + size
    return found


cdef inline void* allocate_clear(Arena* arena, size_t size) noexcept nogil:
    cdef void* found = allocate(arena, size)
    if found != NULL:
        memset(found, 0, size)
    return found


cdef inline bint is_blank_byte(char c) noexcept nogil:
    return c == c' ' or c == c'\n' or c == c'\t' or c == c'\r'


cdef inline bint is_blank(Text text) noexcept nogil:
    """Whether there is nothing but white space of XML."""
    cdef Py_ssize_t i
    for i in range(text.size):
        if not is_blank_byte(text.at[i]):
            return False
    return True


cdef inline Text stripped(Text text) noexcept nogil:
    """The text without white space of XML around it."""
    while text.size > 0 and is_blank_byte(text.at[0]):
        text.at += 1
        text.size -= 1
    while text.size > 0 and is_blank_byte(text.at[text.size - 1]):
        text.size -= 1
    return text


cdef inline bint is_ascii(const char* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef unsigned long long word
    while i + 8 <= size:
        memcpy(&word, text + i, 8)
        if word & <unsigned long long>0x8080808080808080:
            return False
        i += 8
    while i < size:
        if <unsigned char>text[i] >= 0x80:
            return False
        i += 1
    return True


cdef inline bint same_text(Text a, Text b) noexcept nogil:
    return a.size == b.size and memcmp(a.at, b.at, <size_t>a.size) == 0


cdef Text text_of(bytes data):
    """The bytes of an object that somebody else keeps alive."""
    cdef Text text
    text.at = PyBytes_AS_STRING(data)
    text.size = PyBytes_GET_SIZE(data)
    return text


cdef inline str str_of(Text text):
    return PyUnicode_DecodeUTF8(text.at, text.size, NULL)
