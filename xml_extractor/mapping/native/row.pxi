# What an expression sees of the row that is being made.


cdef struct Row:
    Cell* cells
    Frame* frame
    Cell** ancestors  # per table, the row below which rows are being made
    Arena* arena
    PyObject* kept  # a list for Python values that cells point to
