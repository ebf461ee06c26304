# What is made once of a plan, and stays.


cdef class Keeper:
    """Holds C structs and texts that live as long as what is made of them."""

    cdef Arena memory
    cdef list kept

    def __cinit__(self):
        self.kept = []
        if arena_open(&self.memory) < 0:
            raise MemoryError

    def __dealloc__(self):
        arena_close(&self.memory)

    cdef void* reserve(self, size_t size) except NULL:
        """Return memory of zeros; never NULL, also for nothing."""
        cdef void* memory = allocate_clear(&self.memory, size + 1)
        if memory == NULL:
            raise MemoryError
        return memory

    cdef PyObject* keep(self, value):
        self.kept.append(value)
        return <PyObject*>value

    cdef Text keep_text(self, str text):
        cdef bytes data = text.encode()
        self.kept.append(data)
        return text_of(data)

    cdef int keep_name(self, str clark, Text* name, Text* uri) except -1:
        """Keep a Clark name in its two parts; ``uri.at`` is NULL where it has none."""
        before, brace, local = clark.rpartition("}")
        name[0] = self.keep_text(local)
        uri.at = NULL
        if brace:
            uri[0] = self.keep_text(before[1:])
        return 0
