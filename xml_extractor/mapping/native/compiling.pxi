# From the typed nodes of an expression to native ones.  None stands for what has none: Python serves then.

_NUMBERS = frozenset({Family.INTEGER, Family.BIT, Family.DECIMAL})
_MOMENTS = frozenset({Family.DATE, Family.TIME, Family.DATETIME})
_MONTHS_IN = {"year": 12, "quarter": 3, "month": 1}
_OPERATORS = {"=": EQUAL, "<>": UNEQUAL, "<": LESS, "<=": AT_MOST, ">": GREATER, ">=": AT_LEAST}


cdef Node_ compile_node(Builder builder, node, environment):
    """Return the native node of an expression, or None."""
    if not any(isinstance(n, (ex.ColumnRef, ex.PathRef)) for n in ex.walk(node)):
        return constant_node(builder, node, environment)
    compiler = _COMPILERS.get(type(node))
    return None if compiler is None else compiler(builder, node, environment)


cdef ConstantNode constant_node(Builder builder, node, environment):
    try:
        value = compile_expression(node, environment)(ExpressionFrame())
    except EvaluationError:
        return None  # an error for the rows that reach it alone
    cdef ConstantNode constant = ConstantNode()
    builder.keep_constant(&constant.value, value)
    return None if constant.value.kind == OBJECT_KIND else constant


cdef bint is_null_constant(Node_ node):
    return isinstance(node, ConstantNode) and (<ConstantNode>node).value.kind == NULL_KIND


cdef list compile_all(Builder builder, nodes, environment):
    """Return the native nodes of several, or None where one of them has none."""
    cdef list found = []
    for node in nodes:
        native = compile_node(builder, node, environment)
        if native is None:
            return None
        found.append(native)
    return found


cdef Node_ unary(UnaryNode node, Node_ operand):
    node.operand = operand
    return None if operand is None else node


cdef Node_ binary(Builder builder, BinaryNode node, left, right, environment):
    """Two operands; a NULL on the right makes the whole a NULL, whatever is on the left."""
    node.left = compile_node(builder, left, environment)
    node.right = compile_node(builder, right, environment)
    if node.left is None or node.right is None:
        return None
    return node.right if is_null_constant(node.right) else node


cdef Node_ python_node(Builder builder, function, operands, environment):
    cdef PythonNode node = PythonNode()
    node.function = function
    node.operands = compile_all(builder, operands, environment)
    return None if node.operands is None else node


def _column(Builder builder, node, environment):
    cdef ColumnNode column = ColumnNode()
    family = node.type.family
    if family in (Family.FLOAT, Family.BINARY):
        return None
    column.table = -1 if node.table is None else node.table
    column.column = node.column
    kinds = {Family.INTEGER: INTEGER_KIND, Family.BIT: BIT_KIND, Family.DECIMAL: DECIMAL_KIND}
    column.kind = kinds.get(family, TEXT_KIND)
    return column


def _path(Builder builder, node, environment):
    cdef PathNode path = PathNode()
    path.capture = node.capture
    if node.type.name == "nvarchar" and node.type.length is None:
        path.is_plain = True
        return path
    path.blank_is_null = node.type.family is not Family.TEXT
    path.conversion = <Conversion*>builder.reserve(sizeof(Conversion))
    described = PlanConversion(type=node.type, code_page=environment.code_page)
    builder.conversion(path.conversion, described, None)
    return None if path.conversion.how == BY_PYTHON else path


def _convert(Builder builder, node, environment):
    source, target = node.operand.type, node.type
    if source is None:
        return None
    operand = compile_node(builder, node.operand, environment)
    if operand is None:
        return None
    cdef PythonNode python
    native = _plain_conversion(builder, node, operand, environment)
    if native is not None:
        return native
    python = PythonNode()
    python.operands = [operand]
    python.null_on_error = node.null_on_error
    python.function = tsql_conversion(
        source, target, style=node.style, assignment=node.assignment, code_page=environment.code_page
    )
    return python


def _plain_conversion(Builder builder, node, operand, environment):
    cdef NumberNode number
    cdef TextToIntegerNode integer
    cdef TextNode text
    source, target = node.operand.type, node.type
    if target.family is Family.TEXT:
        if source.family is not Family.TEXT and source.family is not Family.INTEGER:
            return None
        if node.null_on_error or not (target.is_unicode or keeps_ascii(environment.code_page)):
            return None
        text = TextNode()
        text.limit = -1 if target.length is None else target.length
        text.is_unicode = target.is_unicode
        text.pads = target.is_fixed_length
        text.cuts = not node.assignment and source.family is Family.TEXT
        return unary(text, operand)
    if source.family is Family.TEXT and target.family is Family.INTEGER:
        integer = TextToIntegerNode()
        integer.null_on_error = node.null_on_error
        limits_of(&integer.limits, target)
        return unary(integer, operand)
    if node.null_on_error:
        return None
    if source.family in _NUMBERS and target.family in _NUMBERS:
        if source.name in MONEY_RANGES and target.family is Family.INTEGER:
            return None  # money is rounded where other decimals are cut off
        number = NumberNode()
        number.target = {
            Family.INTEGER: INTEGER_KIND, Family.BIT: BIT_KIND, Family.DECIMAL: DECIMAL_KIND,
        }[target.family]
        limits_of(&number.limits, target)
        return unary(number, operand)
    return _moment_conversion(builder, source, target, operand)


def _moment_conversion(Builder builder, source, target, operand):
    cdef CutTextNode cut = CutTextNode()
    if target.family is Family.DATE and source.family in (Family.DATE, Family.DATETIME):
        cut.size = 10
        return unary(cut, operand)
    if target.name == "datetime2" and source.name == "datetime2" and source.scale == target.scale:
        return operand
    if target.name == "datetime2" and source.family is Family.DATE:
        cut.size = 10
        digits = target.scale or 0
        cut.behind = builder.keep_text(" 00:00:00" + ("." + "0" * digits if digits else ""))
        return unary(cut, operand)
    return None


def _arithmetic(Builder builder, node, environment):
    cdef ArithmeticNode arithmetic = ArithmeticNode()
    if node.type.family not in (Family.INTEGER, Family.DECIMAL):
        return None
    arithmetic.symbol = ord(node.operator)
    arithmetic.is_integer = node.type.family is Family.INTEGER
    limits_of(&arithmetic.limits, node.type)
    return binary(builder, arithmetic, node.left, node.right, environment)


def _negate(Builder builder, node, environment):
    cdef NegateNode negate = NegateNode()
    if node.type.family not in (Family.INTEGER, Family.DECIMAL):
        return None
    limits_of(&negate.limits, node.type)
    return unary(negate, compile_node(builder, node.operand, environment))


def _concatenate(Builder builder, node, environment):
    return _joined(builder, node.operands, environment, False)


def _joined(Builder builder, operands, environment, skips_null):
    cdef ConcatNode concat = ConcatNode()
    concat.skips_null = skips_null
    concat.operands = compile_all(builder, operands, environment)
    if concat.operands is None or len(concat.operands) > 16:
        return None
    if not skips_null and len(concat.operands) == 2 and is_null_constant(concat.operands[1]):
        return concat.operands[1]
    return concat


def _case(Builder builder, node, environment):
    cdef ChoiceNode choice = ChoiceNode()
    parts = [part for branch in node.branches for part in branch]
    choice.operands = compile_all(builder, [*parts, node.otherwise], environment)
    return None if choice.operands is None else choice


def _coalesce(Builder builder, node, environment):
    cdef CoalesceNode coalesce = CoalesceNode()
    coalesce.operands = compile_all(builder, node.operands, environment)
    return None if coalesce.operands is None else coalesce


def _null_if(Builder builder, node, environment):
    cdef NullIfNode null_if = NullIfNode()
    null_if.left = compile_node(builder, node.operand, environment)
    null_if.right = compile_node(builder, node.equal, environment)
    return None if null_if.left is None or null_if.right is None else null_if


# ------------------------------------------------------------------------------------------ conditions


def _comparing(types, binary, ordered):
    """How values of these types are compared, as expression_runtime.py has it; None where Python does it."""
    known = [t for t in types if t is not None]
    if not known:
        return None
    family = known[0].family
    if family is Family.TEXT:
        if not binary:
            return AS_TEXTS
        return AS_PADDED if any(t.is_fixed_length for t in known) else AS_BYTES
    if all(t.family in _NUMBERS for t in known):
        return AS_NUMBERS
    if family in _MOMENTS or (family is Family.GUID and not ordered):
        return AS_BYTES
    return None


def _comparison(Builder builder, node, environment):
    cdef ComparisonNode comparison = ComparisonNode()
    how = _comparing(
        (node.left.type, node.right.type), node.binary, ordered=node.operator not in ("=", "<>")
    )
    if how is None:
        return None
    comparison.how = how
    comparison.operator = _OPERATORS[node.operator]
    return binary(builder, comparison, node.left, node.right, environment)


def _in(Builder builder, node, environment):
    cdef InNode found = InNode()
    how = _comparing((node.operand.type, *(o.type for o in node.options)), node.binary, ordered=False)
    if how is None:
        return None
    found.how = how
    found.operand = compile_node(builder, node.operand, environment)
    found.operands = compile_all(builder, node.options, environment)
    return None if found.operand is None or found.operands is None else found


def _like(Builder builder, node, environment):
    pattern = compile_node(builder, node.pattern, environment)
    if not isinstance(pattern, ConstantNode):
        return None
    if is_null_constant(pattern):
        return pattern
    types = (node.operand.type, node.pattern.type)
    blanks = not any(t is not None and t.is_unicode for t in types)
    matches = like_matcher(
        value_of(&(<ConstantNode>pattern).value), node.escape, binary=node.binary,
        ignore_trailing_blanks=blanks,
    )
    return python_node(builder, matches, [node.operand], environment)


def _is_null(Builder builder, node, environment):
    cdef IsNullNode is_null = IsNullNode()
    is_null.negated = node.negated
    return unary(is_null, compile_node(builder, node.operand, environment))


def _not(Builder builder, node, environment):
    return unary(NotNode(), compile_node(builder, node.operand, environment))


def _and(Builder builder, node, environment):
    cdef AndNode joined = AndNode()
    joined.decides = isinstance(node, ex.Or)
    joined.operands = compile_all(builder, node.operands, environment)
    return None if joined.operands is None else joined


# ------------------------------------------------------------------------------------------ functions


def _call(Builder builder, node, environment):
    name = node.function
    if name == "CONCAT":
        return _joined(builder, node.arguments, environment, True)
    if name == "CONCAT_WS":
        return None
    native = _native_call(builder, node, environment)
    if native is not None:
        return native
    last = compile_node(builder, node.arguments[-1], environment) if len(node.arguments) == 2 else None
    if last is not None and is_null_constant(last):
        return last
    return python_node(builder, tsql_function(node), node.arguments, environment)


def _native_call(Builder builder, node, environment):
    cdef CutNode cut
    cdef TrimNode trim
    cdef CaseNode_ case
    cdef ReplaceNode replacing
    name, arguments = node.function, node.arguments
    if name in ("LEFT", "RIGHT", "SUBSTRING"):
        cut = CutNode()
        cut.which = {"LEFT": CUT_LEFT, "RIGHT": CUT_RIGHT, "SUBSTRING": CUT_SUBSTRING}[name]
        cut.operands = compile_all(builder, arguments, environment)
        return None if cut.operands is None or is_null_constant(cut.operands[-1]) else cut
    if name == "REPLACE":
        replacing = ReplaceNode()
        replacing.binary = node.binary
        replacing.operands = compile_all(builder, arguments, environment)
        return None if replacing.operands is None else replacing
    if name == "TRIM" and len(arguments) == 1:
        trim = TrimNode()
        side = node.part or "both"
        trim.left, trim.right = side != "trailing", side != "leading"
        return unary(trim, compile_node(builder, arguments[0], environment))
    if name in ("UPPER", "LOWER"):
        case = CaseNode_()
        case.step.what = STEP_UPPER if name == "UPPER" else STEP_LOWER
        return unary(case, compile_node(builder, arguments[0], environment))
    if name == "LEN":
        return unary(LengthNode(), compile_node(builder, arguments[0], environment))
    if name == "ROUND":
        return _round(builder, node, environment)
    return _date_call(builder, node, environment)


def _round(Builder builder, node, environment):
    cdef RoundNode round_node = RoundNode()
    if node.type.family is not Family.DECIMAL or len(node.arguments) != 2:
        return None
    digits = node.arguments[1]
    if not isinstance(digits, ex.Literal) or type(digits.value) is not int or not 0 <= digits.value <= 38:
        return None
    round_node.digits = digits.value
    limits_of(&round_node.limits, node.type)
    return unary(round_node, compile_node(builder, node.arguments[0], environment))


def _date_call(Builder builder, node, environment):
    cdef DateAddNode adding
    cdef DateDiffNode differing
    cdef DatePartNode part
    types = [argument.type for argument in node.arguments]
    if any(t is None for t in types):
        return None
    if node.function == "DATEADD":
        if types[1] != node.type or node.type.name not in ("date", "datetime2"):
            return None
        if node.part != "day" and node.part not in _MONTHS_IN:
            return None
        adding = DateAddNode()
        adding.months = _MONTHS_IN.get(node.part, 0)
        return binary(builder, adding, node.arguments[0], node.arguments[1], environment)
    if node.function == "DATEDIFF":
        if any(t.family not in (Family.DATE, Family.DATETIME) for t in types):
            return None
        if node.part != "day" and node.part not in _MONTHS_IN:
            return None
        differing = DateDiffNode()
        differing.months = _MONTHS_IN.get(node.part, 0)
        return binary(builder, differing, node.arguments[0], node.arguments[1], environment)
    if node.function == "DATEPART" and node.part in ("year", "month", "day"):
        if types[0].family not in (Family.DATE, Family.DATETIME):
            return None
        part = DatePartNode()
        part.which = ("year", "month", "day").index(node.part)
        return unary(part, compile_node(builder, node.arguments[0], environment))
    return None


_COMPILERS = {
    ex.ColumnRef: _column,
    ex.PathRef: _path,
    ex.Convert: _convert,
    ex.Arithmetic: _arithmetic,
    ex.Negate: _negate,
    ex.Concatenate: _concatenate,
    ex.Case: _case,
    ex.Coalesce: _coalesce,
    ex.NullIf: _null_if,
    ex.Call: _call,
    ex.Comparison: _comparison,
    ex.In: _in,
    ex.Like: _like,
    ex.IsNull: _is_null,
    ex.Not: _not,
    ex.And: _and,
    ex.Or: _and,
}
