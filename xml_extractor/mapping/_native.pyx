# cython: language_level=3, boundscheck=False, wraparound=True, initializedcheck=False, cdivision=True
# cython: embedsignature=True
"""The interpreter of the compiled plan in native code, over lxml's own nodes.

It makes the rows that :mod:`xml_extractor.mapping.interpreter` makes, of documents and rows in which nothing
is wrong; all else is given to that one, per value, per group of rows or per document, so that errors and
corner cases have one home.  The pieces are in ``native/``; they are one module so that calls between them
cost nothing.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport INT32_MAX, INT32_MIN, INT64_MAX
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset, strlen, strncmp
from lxml.includes.etreepublic cimport _Document, _Element, elementFactory, import_lxml__etree
from lxml.includes.tree cimport (
    XML_CDATA_SECTION_NODE,
    XML_ELEMENT_NODE,
    XML_TEXT_NODE,
    xmlAttr,
    xmlNode,
    xmlNs,
)

cdef extern from "Python.h":
    str PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)
    str PyUnicode_DecodeASCII(const char* text, Py_ssize_t size, const char* errors)
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    object PyLong_FromLongLong(long long number)
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1
    void PyObject_GC_UnTrack(object container)
    object PyObject_CallOneArg(object function, object argument)

cdef extern from "libxml/xmlversion.h":
    const int LIBXML_VERSION

cdef extern from "lxml-version.h":
    const char* LXML_VERSION_STRING

from decimal import Decimal
from sys import getsizeof

from lxml import etree

from xml_extractor.contract import expression as ex
from xml_extractor.contract.plan import Conversion as PlanConversion
from xml_extractor.contract.plan import Leaf, Pick, Rounding, SourceKind, fold_name
from xml_extractor.contract.types import INTEGER_RANGES, MONEY_RANGES, Family
from xml_extractor.mapping.layouts import PIECE_BYTES, Layout, decimal_text
from xml_extractor.mapping.captures import SEVERAL as SEVERAL_
from xml_extractor.mapping.captures import by_attribute, serialised
from xml_extractor.mapping.columns import DocumentContext, expression_captures, expression_columns
from xml_extractor.mapping.conversion import strict_converter
from xml_extractor.mapping.conversion_error import ConversionError
from xml_extractor.mapping.encoded import EncoderFailed
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.expression_runtime import Frame as ExpressionFrame
from xml_extractor.mapping.expression_runtime import compile_expression
from xml_extractor.mapping.records import EncodedDocument, MappedDocument
from xml_extractor.mapping.row_code import SHARED, TROUBLE, TakeCareError, item_values, lenient_converter
from xml_extractor.mapping.temporal import date_range, full_width_parts, offset_minutes
from xml_extractor.mapping.texts import UNLIMITED, keeps_ascii
from xml_extractor.mapping.tsql_conversion import conversion as tsql_conversion
from xml_extractor.mapping.tsql_functions import function as tsql_function
from xml_extractor.mapping.tsql_text import like_matcher
from xml_extractor.mapping.unknown_elements import MAX_NAME_LENGTH, MAX_REPORTED


# pip builds against the newest lxml, whichever is installed.
_TOGETHER = "`pip install --upgrade lxml`, and building it anew, bring them together"


def check_libraries():
    """Refuse to run over another libxml2, or another lxml, than this module was compiled for.

    Their structs are read here by their layout at compile time.
    """
    built = (LIBXML_VERSION // 10000, LIBXML_VERSION // 100 % 100)
    for there in (etree.LIBXML_VERSION, etree.LIBXML_COMPILED_VERSION):
        if there[:2] != built:
            raise ImportError(
                f"it was built for libxml2 {built[0]}.{built[1]} and lxml runs on "
                f"{'.'.join(map(str, there))}; {_TOGETHER}"
            )
    lxml_built = LXML_VERSION_STRING.decode()
    if lxml_built.split(".")[0] != str(etree.LXML_VERSION[0]):
        raise ImportError(
            f"it was built for lxml {lxml_built} and {etree.__version__} is installed; {_TOGETHER}"
        )


check_libraries()
import_lxml__etree()

include "native/memory.pxi"
include "native/keeper.pxi"
include "native/reading.pxi"
include "native/walk.pxi"
include "native/walker.pxi"
include "native/calendar.pxi"
include "native/conversion.pxi"
include "native/cleaning.pxi"
include "native/temporal.pxi"
include "native/values.pxi"
include "native/cells.pxi"
include "native/columns.pxi"
include "native/numbers.pxi"
include "native/row.pxi"
include "native/nodes.pxi"
include "native/text_nodes.pxi"
include "native/conditions.pxi"
include "native/moments.pxi"
include "native/compiling.pxi"
include "native/computed.pxi"
include "native/sinks.pxi"
include "native/rows.pxi"
include "native/unknown.pxi"
include "native/interpreter.pxi"
include "native/single.pxi"
