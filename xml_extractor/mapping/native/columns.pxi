# Conversions and columns as the C structs that rows are made by, from the plan's descriptions.


cdef class Builder(Keeper):
    """Makes C structs that live as long as their table."""

    cdef int keep_constant(self, Cell* out, value) except -1:
        self.kept.append(value)
        return set_constant(out, value)

    # ---- conversions

    cdef int conversion(self, Conversion* out, described, python) except -1:
        """Describe a conversion; ``python`` converts what is not converted here."""
        cdef How how
        out.python = self.keep(python)
        out.how = BY_PYTHON
        out.empty_is_null = described.empty_is_null
        if described.protection is not None:
            return 0
        if described.enum is not None:
            return self.codes(out, described, python)
        if not self.steps(out, described):
            return 0
        how = <How>self.by_type(out, described)
        if out.step_count and out.steps[out.step_count - 1].what == STEP_YES_NO and how != AS_BIT:
            how = BY_PYTHON
        out.how = how
        return 0

    cdef int codes(self, Conversion* out, described, python) except -1:
        """Convert an enum's codes now, once; and one that is not listed, if all of those become the same."""
        cdef bint is_complete = not (
            described.enum.unknown_rejects or described.enum.ignore_case or described.apply
        )
        if any(step.name == "plugin" for step in described.apply) or len(described.enum.values) > MOST_CODES:
            return 0
        out.codes = <Code*>self.reserve(sizeof(Code) * (len(described.enum.values) + 1))
        for code in [*dict(described.enum.values), ""]:
            try:
                value = python(code)
            except ConversionError:
                is_complete = False
                continue
            out.codes[out.code_count].text = self.keep_text(code)
            self.keep_constant(&out.codes[out.code_count].value, value)
            out.code_count += 1
        if is_complete:
            try:
                value = python("-".join(["unlisted", *dict(described.enum.values)]))
            except ConversionError:
                return 0
            out.has_unlisted = True
            self.keep_constant(&out.unlisted, value)
        return 0

    cdef bint steps(self, Conversion* out, described) except -1:
        """Describe the cleaning steps; whether all of them are known here."""
        cdef int i
        cdef Step* step
        names = {
            "trim": STEP_TRIM, "collapse": STEP_COLLAPSE, "upper": STEP_UPPER, "lower": STEP_LOWER,
            "digits": STEP_DIGITS, "yes_no": STEP_YES_NO, "replace": STEP_REPLACE,
        }
        out.steps = <Step*>self.reserve(sizeof(Step) * len(described.apply))
        for i, apply in enumerate(described.apply):
            if apply.name not in names or (apply.name == "yes_no" and i + 1 < len(described.apply)):
                return False
            step = &out.steps[i]
            step.what = names[apply.name]
            step.pairs = <Pair*>self.reserve(sizeof(Pair) * len(apply.pairs))
            for old, new in apply.pairs:
                step.pairs[step.pair_count].old = self.keep_text(old)
                step.pairs[step.pair_count].new = self.keep_text(new)
                step.pair_count += 1
        out.step_count = len(described.apply)
        return True

    cdef int by_type(self, Conversion* out, described) except -1:
        sql_type = described.type
        family = sql_type.family
        if family is Family.TEXT:
            out.pads = sql_type.is_fixed_length
            if sql_type.is_unicode:
                out.limit = -1 if sql_type.length is None else sql_type.length
                return AS_UNICODE
            out.limit = UNLIMITED if sql_type.length is None else sql_type.length
            return AS_ASCII if keeps_ascii(described.code_page) else BY_PYTHON
        if family is Family.INTEGER:
            out.low, out.high = INTEGER_RANGES[sql_type.name]
            return AS_INTEGER
        if family is Family.DECIMAL:
            return self.decimal(out, sql_type, described.rounding)
        if family is Family.BIT:
            return AS_BIT
        if family is Family.GUID:
            return AS_GUID
        if family in (Family.DATE, Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
            return self.temporal(out, described)
        return BY_PYTHON

    cdef int temporal(self, Conversion* out, described) except -1:
        sql_type = described.type
        family = sql_type.family
        out.is_date = family is Family.DATE
        out.scale = sql_type.scale or 0
        out.first_day, out.last_day = temporal_range(sql_type)
        if described.formats:
            form = None if sql_type.name not in ("date", "datetime2") else full_width_format(
                described.formats[0], sql_type
            )
            if form is None:
                return BY_PYTHON
            self.kept.append(form)
            out.format = text_of(form)
            return AS_FORMATTED
        out.zone = {None: ZONE_REJECT, "utc": ZONE_TO_UTC, "drop": ZONE_DROP}.get(described.zone, ZONE_REJECT)
        if family is Family.DATE:
            return AS_DATE
        if family is Family.TIME:
            return AS_TIME
        out.in_three_hundredths = sql_type.name == "datetime"
        out.in_minutes = sql_type.name == "smalldatetime"
        if family is Family.DATETIMEOFFSET:
            out.zone = ZONE_KEEP
            offset = None if described.default_zone is None else offset_minutes(described.default_zone)
            out.default_offset = NO_OFFSET if offset is None else offset
        return AS_DATETIME

    cdef int decimal(self, Conversion* out, sql_type, rounding) except -1:
        if sql_type.scale > MOST_DIGITS:
            return BY_PYTHON
        out.scale = sql_type.scale
        out.high = INT64_MAX
        out.low = -INT64_MAX
        if sql_type.name in MONEY_RANGES:
            low, high = MONEY_RANGES[sql_type.name]
            out.low, out.high = int(low.scaleb(4)), int(high.scaleb(4))
        elif sql_type.precision <= MOST_DIGITS:
            out.high = POWERS[<int>sql_type.precision] - 1
            out.low = -out.high
        out.rounding = {
            Rounding.REJECT: ROUND_REJECT, Rounding.HALF_UP: ROUND_HALF_UP,
            Rounding.HALF_EVEN: ROUND_HALF_EVEN, Rounding.DOWN: ROUND_DOWN,
        }[rounding]
        return AS_DECIMAL


def temporal_range(sql_type):
    """The days that a type holds; a date and time whose UTC may be beyond them is left to Python."""
    first, last = date_range(sql_type)
    if sql_type.family is Family.DATETIMEOFFSET:
        return first, last - 2
    return first - 1, last - 1


def full_width_format(form, sql_type):
    """Return a format as to_formatted() reads it; None where temporal.py has no quick way for it."""
    parts = full_width_parts(form, sql_type)
    if parts is None:
        return None
    out = b""
    for directive, words in parts:
        if directive:
            out += bytes((0, "YmdHMS".index(directive)))
        out += words.encode()
    return out


cdef enum ColumnKind:
    IS_SHARED
    IS_POSITION
    IS_PARENT_POSITION
    IS_CAPTURE
    IS_ITEM_NAME
    IS_ITEM_VALUE
    IS_EXPRESSION


cdef enum:
    # Where a shared column's value comes from, if not from a column of the parent.
    PYTHON_PLACE = -1
    CONSTANT_PLACE = -2  # the column's `absent`
    KEY_PLACE = -3


cdef struct Column:
    ColumnKind kind
    int index
    int place  # of a shared column: the parent's column, or one of the places above
    int slot_count
    int* slots
    bint is_number  # of a position: as it stands
    Cell absent
    Cell default
    Conversion conversion
    int expression  # index into the table's expressions


cdef inline void read_column(Column* column, Frame* frame, Text* out) noexcept nogil:
    """The first capture that is not blank, else the first present."""
    cdef int i
    cdef Text text
    if column.slot_count == 1:
        out[0] = frame.texts[column.slots[0]]
        return
    out.at = NULL
    for i in range(column.slot_count):
        text = frame.texts[column.slots[i]]
        if text.at == NULL:
            continue
        if not is_blank(text):
            out[0] = text
            return
        if out.at == NULL:
            out[0] = text
